// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Strings = std::vector<std::string>;

std::string unigram(const std::string& vocab, const std::string& more = R"(, "unk_id": 0)") {
  return R"({"model": {"type": "Unigram", "vocab": )" + vocab + more + "}}";
}

}  // namespace

TEST_CASE("unigram: the way with the greatest sum of scores is taken, not the longest entry first") {
  const std::unique_ptr<Tokenizer> tokenizer =
      must_read(unigram(R"([["<unk>", 0], ["a", -4], ["ab", -3], ["bc", -1], ["c", -5], ["abc", -9]])"));
  CHECK(entries_of(*tokenizer, "abc") == Strings{"a", "bc"});
  CHECK(entries_of(*tokenizer, "ab") == Strings{"ab"});
}

TEST_CASE("unigram: neighbouring unknown characters are one unknown token, or their bytes") {
  const std::string vocab = R"([["<unk>", 0], ["a", -1], ["<0xC3>", 0], ["<0xA9>", 0], ["<0x78>", 0]])";
  CHECK(entries_of(*must_read(unigram(vocab)), "axxa") == Strings{"a", "<unk>", "a"});
  const std::unique_ptr<Tokenizer> bytes = must_read(unigram(vocab, R"(, "unk_id": 0, "byte_fallback": true)"));
  CHECK(entries_of(*bytes, "aéx") == Strings{"a", "<0xC3>", "<0xA9>", "<0x78>"});
  CHECK(entries_of(*bytes, "éz") == Strings{"<unk>"});
}

TEST_CASE("unigram: broken vocabularies are refused, and a missing unknown token is an error of encode()") {
  for (const std::string& json :
       {unigram("{}"), unigram("[[\"a\"]]"), unigram("[[1, 2]]"), unigram("[[\"a\", \"b\"]]"), unigram("[]"),
        unigram(R"([["a", 0]])", R"(, "unk_id": 1)"), unigram(R"([["a", 0]])", R"(, "unk_id": -1)")}) {
    CAPTURE(json);
    const Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(json);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::bad_format);
  }
  const std::unique_ptr<Tokenizer> tokenizer = must_read(unigram(R"([["a", 0]])", ""));
  CHECK(entries_of(*tokenizer, "aa") == Strings{"a", "a"});
  CHECK_FALSE(tokenizer->encode("ab").ok());
}

TEST_CASE("unigram: one word of a quarter of a megabyte takes no quadratic time") {
  const std::unique_ptr<Tokenizer> tokenizer =
      must_read(unigram(R"([["<unk>", 0], ["a", -1], ["aa", -1.5], ["aaaa", -2]])"));
  CHECK(must_encode(*tokenizer, std::string(size_t{1} << 18, 'a')).size() == size_t{1} << 16);
}

}  // namespace decant::test
