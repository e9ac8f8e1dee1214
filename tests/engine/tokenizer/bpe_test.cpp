// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Strings = std::vector<std::string>;

std::string bpe(const std::string& vocab, const std::string& merges, const std::string& more = "") {
  return R"({"model": {"type": "BPE", "vocab": )" + vocab + R"(, "merges": )" + merges + more + "}}";
}

}  // namespace

TEST_CASE("bpe: merges happen by rank, and of equal ranks from the left") {
  const std::unique_ptr<Tokenizer> tokenizer =
      must_read(bpe(R"({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "aa": 5})", R"(["b c", "a b", "a a"])"));
  CHECK(entries_of(*tokenizer, "abc") == Strings{"a", "bc"});
  CHECK(entries_of(*tokenizer, "ab") == Strings{"ab"});
  CHECK(entries_of(*tokenizer, "aaaaa") == Strings{"aa", "aa", "a"});
}

TEST_CASE("bpe: merges are read as strings and as pairs, which may hold spaces") {
  const std::unique_ptr<Tokenizer> tokenizer = must_read(bpe(R"({"a": 0, " ": 1, "a ": 2})", R"([["a", " "]])"));
  CHECK(entries_of(*tokenizer, "a a") == Strings{"a ", "a"});
}

TEST_CASE("bpe: unknown characters vanish, become the unknown token, or fuse into one") {
  const std::string vocab = R"({"a": 0, "<unk>": 1, "<0xC3>": 2, "<0xA9>": 3})";
  CHECK(entries_of(*must_read(bpe(vocab, "[]")), "axya") == Strings{"a", "a"});
  CHECK(entries_of(*must_read(bpe(vocab, "[]", R"(, "unk_token": "<unk>")")), "axya") ==
        Strings{"a", "<unk>", "<unk>", "a"});
  CHECK(entries_of(*must_read(bpe(vocab, "[]", R"(, "unk_token": "<unk>", "fuse_unk": true)")), "axya") ==
        Strings{"a", "<unk>", "a"});
  CHECK(entries_of(*must_read(bpe(vocab, "[]", R"(, "unk_token": "<unk>", "byte_fallback": true)")), "éè") ==
        Strings{"<0xC3>", "<0xA9>", "<unk>"});
  const Result<std::vector<int32_t>> none = must_read(bpe(vocab, "[]", R"(, "unk_token": "[UNK]")"))->encode("x");
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().message.find("[UNK]") != std::string::npos);
}

TEST_CASE("bpe: with ignore_merges a word that is an entry is that entry") {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2})";
  CHECK(entries_of(*must_read(bpe(vocab, "[]", R"(, "ignore_merges": true)")), "ab") == Strings{"ab"});
  CHECK(entries_of(*must_read(bpe(vocab, "[]", R"(, "ignore_merges": false)")), "ab") == Strings{"a", "b"});
}

TEST_CASE("bpe: one word of a quarter of a megabyte takes no quadratic time") {
  const std::unique_ptr<Tokenizer> tokenizer = fixture_tokenizer("spm-bpe");
  std::string text;
  while (text.size() < (size_t{1} << 18)) text += "the quick the 123 ";
  CHECK(tokenizer->decode(must_encode(*tokenizer, text)) == text);
  const std::unique_ptr<Tokenizer> byte_level = fixture_tokenizer("bpe-llama3");
  CHECK(byte_level->decode(must_encode(*byte_level, std::string(size_t{1} << 18, ' '))).size() == size_t{1} << 18);
  CHECK(byte_level->decode(must_encode(*byte_level, std::string(size_t{1} << 18, 'e'))).size() == size_t{1} << 18);
}

TEST_CASE("tokenizer.json: what decant lacks is named") {
  const auto refusal = [](const std::string& json) {
    const Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(json);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::unsupported);
    return made.error().message;
  };
  const std::string model = R"("model": {"type": "BPE", "vocab": {"a": 0}, "merges": []})";
  const auto mentions = [](const std::string& text, const char* what) { return text.find(what) != std::string::npos; };
  CHECK(mentions(refusal(R"({"model": {"type": "WordPiece", "vocab": {}}})"), "tokenizer model 'WordPiece'"));
  CHECK(
      mentions(refusal("{" + model + R"(, "normalizer": {"type": "BertNormalizer"}})"), "normalizer 'BertNormalizer'"));
  CHECK(mentions(refusal("{" + model + R"(, "pre_tokenizer": {"type": "UnicodeScripts"}})"),
                 "pre-tokenizer 'UnicodeScripts'"));
  CHECK(mentions(refusal("{" + model + R"(, "decoder": {"type": "CTC"}})"), "decoder 'CTC'"));
  CHECK(mentions(refusal("{" + model + R"(, "post_processor": {"type": "Other"}})"), "post-processor 'Other'"));
  CHECK(mentions(refusal(bpe(R"({"a": 0})", "[]", R"(, "continuing_subword_prefix": "##")")),
                 "continuing_subword_prefix"));
  CHECK(mentions(refusal(bpe(R"({"a": 0})", "[]", R"(, "end_of_word_suffix": "</w>")")), "end_of_word_suffix"));
  CHECK(mentions(refusal(bpe(R"({"a": 0})", "[]", R"(, "dropout": 0.5)")), "dropout"));
  CHECK(must_read(bpe(R"({"a": 0})", "[]",
                      R"(, "continuing_subword_prefix": "", "end_of_word_suffix": null, "dropout": null)"))
            ->vocab_size() == 1);
}

TEST_CASE("tokenizer.json: a model without a tokenizer is refused") {
  const Result<std::unique_ptr<Tokenizer>> made = tokenizer::make_tokenizer({});
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code == ErrorCode::unsupported);
}

TEST_CASE("tokenizer.json: post-processors put special tokens around the text, in a sequence from the inside out") {
  const std::string model =
      R"("model": {"type": "BPE", "vocab": {"a": 0, "[S]": 1, "[E]": 2, "[B]": 3}, "merges": []})";
  const std::string inner =
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[S]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
      {"SpecialToken": {"id": "[E]", "type_id": 0}}], "special_tokens": {"[S]": {"id": "[S]", "ids": [1], "tokens": ["[S]"]}, "[E]": {"id": "[E]", "ids": [2], "tokens": ["[E]"]}}})";
  const std::string outer =
      R"({"type": "RobertaProcessing", "sep": ["[E]", 2], "cls": ["[B]", 3], "trim_offsets": true, "add_prefix_space": false})";
  const std::unique_ptr<Tokenizer> tokenizer = must_read(
      "{" + model + R"(, "post_processor": {"type": "Sequence", "processors": [)" + inner + "," + outer + "]}}");
  CHECK(must_encode(*tokenizer, "a", true) == std::vector<int32_t>{3, 1, 0, 2, 2});
  CHECK(must_encode(*tokenizer, "", true) == std::vector<int32_t>{3, 1, 2, 2});
  CHECK(must_encode(*tokenizer, "a", false) == std::vector<int32_t>{0});
}

}  // namespace decant::test
