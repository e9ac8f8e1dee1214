// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "engine/tokenizer/utf8.h"
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Ids = std::vector<int32_t>;

std::vector<Ids> id_lists(const std::string& name) {
  std::vector<Ids> lists;
  const nlohmann::json tests = read_json(fixture("tokenizers/" + name + "/tests.json"));
  for (const char* kind : {"encode", "decode"})
    for (const nlohmann::json& test : tests[kind]) lists.push_back(test["ids"]);
  return lists;
}

/// `text` without the characters that it has in common with the front of `whole`, taken off `whole`.
std::string rest_of(const std::string& whole, const std::string& text) {
  size_t same = 0;
  for (size_t at = 0; at < whole.size();) {
    const size_t bytes = tokenizer::utf8_step(std::string_view(whole).substr(at)).bytes;
    at += bytes;
    if (at > text.size() || whole.compare(0, at, text, 0, at) != 0) break;
    same = at;
  }
  return whole.substr(same);
}

}  // namespace

TEST_CASE("stream: joined, the texts are those of decode(), for every id list of the fixtures") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    for (const Ids& ids : id_lists(name)) {
      CAPTURE(ids);
      for (const bool skip_special : {true, false})
        CHECK(streamed(*tokenizer, {}, ids, skip_special) == tokenizer->decode(ids, skip_special));
    }
  }
}

// A context may end within a character: decode() has U+FFFD for what there is of it. If the next token completes the
// character, decode(context + ids) no longer begins with decode(context); the stream then has that character.
TEST_CASE("stream: after a context, the texts are what decode() adds, wherever the ids are cut in two") {
  int n_completed = 0;
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    const std::vector<Ids> lists = id_lists(name);
    for (size_t i = 0; i < lists.size(); i += i < 281 ? 8 : 2) {
      const Ids& ids = lists[i];
      CAPTURE(ids);
      for (const bool skip_special : {true, false}) {
        const std::string whole = tokenizer->decode(ids, skip_special);
        for (size_t cut = 0; cut <= ids.size(); ++cut) {
          const std::span<const int32_t> context = std::span(ids).first(cut), rest = std::span(ids).subspan(cut);
          const std::string before = tokenizer->decode(context, skip_special);
          n_completed += !whole.starts_with(before);
          const std::string expected = whole.starts_with(before) ? whole.substr(before.size()) : rest_of(whole, before);
          CHECK(streamed(*tokenizer, context, rest, skip_special) == expected);
        }
      }
    }
  }
  CHECK(n_completed > 100);
}

TEST_CASE("stream: no text holds part of a character") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    for (const Ids& ids : id_lists(name)) {
      const std::unique_ptr<Tokenizer::Stream> stream = tokenizer->stream(std::span(ids).first(ids.size() / 2));
      bool whole = true;
      for (const int32_t id : std::span(ids).subspan(ids.size() / 2))
        whole = whole && tokenizer::is_valid_utf8(stream->push(id));
      whole = whole && tokenizer::is_valid_utf8(stream->finish());
      CHECK(whole);
    }
  }
}

TEST_CASE("stream: text comes with its token, not at the end") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    const Ids ids = must_encode(*tokenizer, "one two three");
    const std::unique_ptr<Tokenizer::Stream> stream = tokenizer->stream({});
    std::string sofar;
    for (size_t i = 0; i < ids.size(); ++i) {
      sofar += stream->push(ids[i]);
      CHECK(sofar == tokenizer->decode(std::span(ids).first(i + 1)));
    }
    CHECK(stream->finish().empty());
  }
}

TEST_CASE("stream: the first token after a prompt keeps its space") {
  const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer("spm-bpe");
  const Ids context = must_encode(*tokenizer, "the", true), next = must_encode(*tokenizer, "the");
  CHECK(streamed(*tokenizer, context, next) == " the");
  CHECK(streamed(*tokenizer, {}, next) == "the");
}

TEST_CASE("stream: it starts anew after finish()") {
  const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer("metaspace-bpe");
  const Ids ids = must_encode(*tokenizer, "the cat");
  const std::unique_ptr<Tokenizer::Stream> stream = tokenizer->stream(ids);
  for (int round = 0; round < 2; ++round) {
    std::string text;
    for (const int32_t id : ids) text += stream->push(id);
    text += stream->finish();
    CHECK(text == (round == 0 ? " the cat" : "the cat"));
  }
}

}  // namespace decant::test
