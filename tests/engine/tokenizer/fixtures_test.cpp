// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Ids = std::vector<int32_t>;

}  // namespace

TEST_CASE("tokenizer: every string of the fixtures has the reference's ids, with special tokens and without") {
  REQUIRE(fixture_tokenizers().size() == 8);
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    const nlohmann::json tests = read_json(fixture("tokenizers/" + name + "/tests.json"));
    CHECK(tests["encode"].size() == 281);
    for (const nlohmann::json& test : tests["encode"]) {
      const std::string text = test["text"];
      CAPTURE(text);
      CHECK(must_encode(*tokenizer, text, true) == test["ids"].get<Ids>());
      CHECK(must_encode(*tokenizer, text, false) == test["ids_no_special"].get<Ids>());
    }
  }
}

TEST_CASE("tokenizer: every id list of the fixtures has the reference's text, with special tokens and without") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    const nlohmann::json tests = read_json(fixture("tokenizers/" + name + "/tests.json"));
    CHECK(tests["decode"].size() == 60);
    for (const char* kind : {"encode", "decode"})
      for (const nlohmann::json& test : tests[kind]) {
        const Ids ids = test["ids"];
        CAPTURE(ids);
        CHECK(tokenizer->decode(ids, true) == test["decoded"].get<std::string>());
        CHECK(tokenizer->decode(ids, false) == test["decoded_with_special"].get<std::string>());
      }
  }
}

TEST_CASE("tokenizer: entries and ids are each other's inverse, and ids that have none say so") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) CHECK(tokenizer->id_of(tokenizer->entry(id)) == id);
    for (const int32_t id : {-1, tokenizer->vocab_size(), INT32_MAX, INT32_MIN}) {
      CHECK(tokenizer->entry(id).empty());
      CHECK_FALSE(tokenizer->is_special(id));
      CHECK(tokenizer->decode(std::vector<int32_t>{id}).empty());
    }
    CHECK(tokenizer->id_of("no such entry") == -1);
  }
  const std::unique_ptr<Tokenizer> llama3 = fixture_tokenizer("bpe-llama3");
  CHECK(llama3->is_special(llama3->id_of("<|eot_id|>")));
  const std::unique_ptr<Tokenizer> qwen2 = fixture_tokenizer("bpe-qwen2");
  CHECK_FALSE(qwen2->is_special(qwen2->id_of("<tool_call>")));
}

TEST_CASE("tokenizer: bytes that are not UTF-8 are read as U+FFFD, one for each maximal ill-formed part") {
  for (const std::string& name : fixture_tokenizers()) {
    CAPTURE(name);
    const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer(name);
    CHECK(must_encode(*tokenizer,
                      "a\x80"
                      "b") == must_encode(*tokenizer,
                                          "a\uFFFD"
                                          "b"));
    CHECK(must_encode(*tokenizer, "\xF0\x9F\x98") == must_encode(*tokenizer, "\uFFFD"));
    CHECK(must_encode(*tokenizer, "\xED\xA0\x80") == must_encode(*tokenizer, "\uFFFD\uFFFD\uFFFD"));
    CHECK(must_encode(*tokenizer, "\xC0\xAF\xF5") == must_encode(*tokenizer, "\uFFFD\uFFFD\uFFFD"));
  }
}

}  // namespace decant::test
