// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <random>

#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

// Small files that together have every component, so that a flipped byte can land in each.
const std::array<std::string, 5>& small_files() {
  static const std::array<std::string, 5> kFiles = {
      R"json({"version": "1.0", "added_tokens": [{"id": 9, "content": "<|e|>", "single_word": false, "lstrip": true, "rstrip": false,
      "normalized": false, "special": true}, {"id": 10, "content": "tool", "single_word": true, "normalized": true, "special": false}],
      "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
      "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated",
      "invert": false}, {"type": "ByteLevel", "add_prefix_space": true, "use_regex": false}]},
      "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|e|>", "type_id": 0}}, {"Sequence":
      {"id": "A", "type_id": 0}}], "special_tokens": {"<|e|>": {"id": "<|e|>", "ids": [9], "tokens": ["<|e|>"]}}},
      "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
      "byte_fallback": false, "ignore_merges": true, "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "Ã": 5, "©": 6, "Ã©": 7, "1": 8},
      "merges": ["a b", ["Ġ", "ab"], "Ã ©"]}})json",
      R"json({"added_tokens": [{"id": 1, "content": "<s>", "special": true}], "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Strip", "strip_left": true, "strip_right": false}, {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, "pre_tokenizer": null, "decoder": {"type": "Sequence",
      "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 1}]}, "post_processor": {"type": "Sequence", "processors": [
      {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["<s>", 1]}]}, "model": {"type": "BPE", "unk_token": "<unk>",
      "fuse_unk": true, "byte_fallback": true, "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "▁a": 4, "<0xC3>": 5, "<0xA9>": 6},
      "merges": [["▁", "a"]]}})json",
      R"json({"normalizer": {"type": "Replace", "pattern": {"Regex": "( {2,}|x*y)"}, "content": " "}, "pre_tokenizer": {"type": "Sequence",
      "pretokenizers": [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}, {"type": "Digits",
      "individual_digits": true}, {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Split", "pattern": {"String": "a"},
      "behavior": "MergedWithNext", "invert": true}]}, "decoder": {"type": "Metaspace", "replacement": "▁"}, "model": {"vocab":
      {"a": 0, "▁": 1, "1": 2, "!": 3}, "merges": []}})json",
      R"json({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Whitespace"},
      {"type": "WhitespaceSplit"}]}, "normalizer": {"type": "NFKD"}, "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}, {"type": "ByteLevel"}]}, "model": {"type": "BPE", "vocab":
      {"a": 7, "b": 1, "é": 100}, "merges": []}})json",
      R"json({"normalizer": {"type": "NFKC"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
      "decoder": {"type": "Metaspace", "replacement": "▁"}, "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab":
      [["<unk>", 0.0], ["▁", -2.5], ["a", -3], ["ab", -3.5], ["▁a", -4], ["<0xC3>", 0], ["<0xA9>", 0]]}})json"};
  return kFiles;
}

enum class Outcome { refused, works, broken };

/// Reads a file and, if that succeeds, puts the tokenizer to work on whatever it is given.
Outcome outcome_of(const std::string& json) {
  Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(json);
  if (!made) return made.error().message.empty() ? Outcome::broken : Outcome::refused;
  const Tokenizer& tokenizer = **made;
  for (const std::string_view text : {"ab a1234 é! tool <|e|> <s>\n\n  xxxy", "\xFF\xC3 aab", ""}) {
    Result<std::vector<int32_t>> ids = tokenizer.encode(text);
    if (!ids) continue;
    for (const int32_t id : *ids)
      if (id < 0 || id >= (1 << 24)) return Outcome::broken;
    ids->insert(ids->end(), {0, 5, 6, -1, tokenizer.vocab_size(), tokenizer.vocab_size() - 1, 1});
    const std::string whole = tokenizer.decode(*ids, false);
    if (streamed(tokenizer, {}, *ids, false) != whole) return Outcome::broken;
  }
  return Outcome::works;
}

}  // namespace

TEST_CASE("hostile tokenizer.json: every truncation is an error") {
  for (const std::string& file : small_files()) {
    REQUIRE(outcome_of(file) == Outcome::works);
    size_t n_read = 0;
    for (size_t n = 0; n < file.size(); ++n) n_read += tokenizer_of(file.substr(0, n)).ok();
    CHECK(n_read == 0);
  }
}

TEST_CASE("hostile tokenizer.json: 10,000 seeded byte flips give an error or a tokenizer that works") {
  std::mt19937 random(20240611);
  int n_read = 0, n_refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string file = small_files()[static_cast<size_t>(i) / 2 % small_files().size()];
    for (int flips = 1 + i % 3; flips > 0; --flips)  // half of them keep the file UTF-8
      file[random() % file.size()] = static_cast<char>(i % 2 == 0 ? random() % 256 : 0x20 + random() % 0x5F);
    const Outcome outcome = outcome_of(file);
    CAPTURE(file);
    CHECK(outcome != Outcome::broken);
    ++(outcome == Outcome::works ? n_read : n_refused);
  }
  CHECK(n_read > 500);
  CHECK(n_refused > 500);
}

TEST_CASE("hostile tokenizer.json: swapped components give an error or a tokenizer that works") {
  // Numbers and words put where others were reach what single bytes can't.
  const std::array<std::string, 12> words = {"-1",    "0",    "16777216",     "99999999999999999999",
                                             "1e300", "null", "[]",           "{}",
                                             "\"\"",  "true", "\"Sequence\"", "\"\\u0000\""};
  std::mt19937 random(7);
  int n_refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    std::string file = small_files()[static_cast<size_t>(i) % small_files().size()];
    const size_t colon = file.find(':', random() % file.size());
    if (colon == std::string::npos) continue;
    const size_t end = file.find_first_of(",]}", colon);
    file.replace(colon + 1, end - colon - 1, words[random() % words.size()]);
    const Outcome outcome = outcome_of(file);
    CAPTURE(file);
    CHECK(outcome != Outcome::broken);
    n_refused += outcome == Outcome::refused;
  }
  CHECK(n_refused > 500);
}

TEST_CASE("hostile tokenizer.json: absurd ids, merges and nesting are refused as bad_format") {
  const auto refused = [](const std::string& json) {
    const Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(json);
    return !made.ok() && made.error().code == ErrorCode::bad_format && !made.error().message.empty();
  };
  const auto bpe = [](const std::string& vocab, const std::string& merges) {
    return R"({"model": {"type": "BPE", "vocab": )" + vocab + R"(, "merges": )" + merges + "}}";
  };
  for (const char* id :
       {"-1", "16777216", "4294967296", "9223372036854775808", "18446744073709551616", "1.5", "\"1\"", "null", "[]"}) {
    CAPTURE(id);
    CHECK(refused(bpe(std::string("{\"a\": ") + id + "}", "[]")));
    CHECK(refused(R"({"added_tokens": [{"content": "x", "id": )" + std::string(id) +
                  R"(}], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})"));
  }
  CHECK(refused(bpe("{\"a\": 16777215}", "[]")));  // a table of it would be 16 million entries for one
  CHECK(refused(bpe("{\"a\": 0, \"b\": 1}", "[\"a b\"]")));
  CHECK(refused(bpe("{\"a\": 0, \"ab\": 1}", "[\"a b\"]")));
  CHECK(refused(bpe("{\"a\": 0}", "[\"a\"]")));
  CHECK(refused(bpe("{\"a\": 0}", "[\"a a a\"]")));
  CHECK(refused(bpe("{\"a\": 0}", "[[\"a\"]]")));
  CHECK(refused(bpe("{\"a\": 0}", "[7]")));
  CHECK(refused(bpe("{\"a\": 0}", "{}")));
  CHECK(refused(bpe("[]", "[]")));
  CHECK(refused(R"({"model": {"type": "BPE", "vocab": {"a": 0}}})"));
  CHECK(refused("[]"));
  CHECK(refused(""));
  CHECK(refused("{}"));
  CHECK(refused(R"({"model": []})"));
  for (const char* bracket : {"[", "{\"a\":"}) {
    std::string deep = R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": )";
    for (int i = 0; i < 200'000; ++i) deep += bracket;
    CHECK(refused(deep));
  }
  std::string nested = R"({"type": "NFC"})";
  for (int i = 0; i < 100; ++i) nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  CHECK(refused(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": )" + nested + "}"));
}

TEST_CASE("hostile tokenizer.json: a normalizer can't make memory without bounds") {
  std::string steps =
      R"({"type": "Replace", "pattern": {"Regex": "."}, "content": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})";
  for (int i = 0; i < 4; ++i) steps += "," + steps;
  const std::unique_ptr<Tokenizer> tokenizer = must_read(
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Sequence", "normalizers": [)" +
      steps + "]}}");
  const Result<std::vector<int32_t>> ids = tokenizer->encode("some text");
  REQUIRE_FALSE(ids.ok());
  CHECK(ids.error().code == ErrorCode::unsupported);
}

TEST_CASE("hostile tokenizer.json: a regular expression that backtracks without end is an error of encode()") {
  const std::unique_ptr<Tokenizer> tokenizer = must_read(
      R"json({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*b|(a*)*c"}, "behavior": "Isolated"}})json");
  const Result<std::vector<int32_t>> ids = tokenizer->encode(std::string(64, 'a'));
  REQUIRE_FALSE(ids.ok());
  CHECK(ids.error().code == ErrorCode::unsupported);
  CHECK(must_encode(*tokenizer, "aab").size() == 2);
}

}  // namespace decant::test
