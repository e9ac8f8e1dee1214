// SPDX-License-Identifier: Apache-2.0
#include "decant/text_stream.h"

#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Ids = std::vector<int32_t>;

/// A vocabulary of single letters and some words, so that a test can choose where tokens end.
std::unique_ptr<Tokenizer> letters() {
  return must_read(R"({"model": {"type": "BPE", "merges": [], "vocab":
    {"a": 0, "b": 1, "c": 2, "d": 3, " ": 4, "abcd": 5, "é": 6, "è": 7, "ab": 8, "<0xC3>": 9, "<0xA9>": 10}},
    "added_tokens": [{"id": 11, "content": "<end>", "special": true}],
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}})");
}

struct Heard {
  std::vector<std::string> texts;
  std::string joined;
  bool stopped = false;
};

Heard hear(const Ids& ids, std::vector<std::string> stops, const Ids& context = {}) {
  const std::unique_ptr<Tokenizer> tokenizer = letters();
  TextStream stream(*tokenizer, context, std::move(stops));
  Heard heard;
  for (const int32_t id : ids) heard.texts.emplace_back(stream.push(id));
  heard.texts.emplace_back(stream.finish());
  for (const std::string& text : heard.texts) heard.joined += text;
  heard.stopped = stream.stopped();
  return heard;
}

}  // namespace

TEST_CASE("text_stream: without stop strings, every token's text comes at once") {
  const Heard heard = hear({0, 1, 5, 11, 6}, {});
  CHECK(heard.texts == std::vector<std::string>{"a", "b", "abcd", "", "é", ""});
  CHECK_FALSE(heard.stopped);
}

TEST_CASE("text_stream: a stop string across tokens ends the text before it") {
  const Heard heard = hear({3, 0, 1, 2, 3, 0}, {"bc"});
  CHECK(heard.texts == std::vector<std::string>{"d", "a", "", "", "", "", ""});
  CHECK(heard.stopped);
}

TEST_CASE("text_stream: a stop string within a token cuts the token") {
  const Heard heard = hear({4, 5, 0}, {"bc"});
  CHECK(heard.joined == " a");
  CHECK(heard.stopped);
}

TEST_CASE("text_stream: only what can still become a stop string is held back") {
  const Heard heard = hear({0, 1, 0, 1, 3, 0}, {"abc"});
  CHECK(heard.texts == std::vector<std::string>{"", "", "ab", "", "abd", "", "a"});
  CHECK_FALSE(heard.stopped);
}

TEST_CASE("text_stream: the stop string that ends first wins, however the text is cut into tokens") {
  for (const Ids& ids : {Ids{0, 1, 2, 3}, Ids{8, 2, 3}, Ids{5}}) {
    CHECK(hear(ids, {"abcd", "bc"}).joined == "a");
    CHECK(hear(ids, {"bc", "abc"}).joined.empty());
    CHECK(hear(ids, {"d", "cd"}).joined == "ab");
  }
}

TEST_CASE("text_stream: overlapping beginnings of a stop string don't hide it") {
  CHECK(hear({0, 0, 0, 1}, {"aab"}).joined == "a");
  CHECK(hear({0, 1, 0, 1, 0, 2}, {"abac"}).joined == "ab");
}

TEST_CASE("text_stream: characters stay whole next to a stop string that shares their first byte") {
  const Heard heard = hear({7, 6, 0}, {"éb", "\xC3"});
  CHECK(heard.texts == std::vector<std::string>{"è", "", "éa", ""});
  CHECK(hear({9, 10, 0}, {"é"}).stopped);
  CHECK(hear({9, 10}, {"é"}).stopped);
}

TEST_CASE("text_stream: empty stop strings are ignored") {
  const Heard heard = hear({0, 1}, {"", "x"});
  CHECK(heard.joined == "ab");
  CHECK_FALSE(heard.stopped);
}

TEST_CASE("text_stream: the context is no part of the text and no part of a stop string") {
  const Heard heard = hear({1, 2}, {"ab"}, {0});
  CHECK(heard.joined == "bc");
  CHECK_FALSE(heard.stopped);
}

}  // namespace decant::test
