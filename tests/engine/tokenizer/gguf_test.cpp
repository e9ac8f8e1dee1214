// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/tokenizer/normalizer.h"
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Ids = std::vector<int32_t>;
using Strings = std::vector<std::string>;
using tokenizer::GgufVocabulary;

Result<std::unique_ptr<Tokenizer>> tokenizer_of(const GgufVocabulary& vocabulary) {
  tokenizer::TokenizerSource source;
  source.gguf = vocabulary;
  return tokenizer::make_tokenizer(source);
}

std::unique_ptr<Tokenizer> must_read(const GgufVocabulary& vocabulary) {
  Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(vocabulary);
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  return std::move(*made);
}

/// The vocabulary of a fixture's tokenizer.json, as a converter writes it into a GGUF file.
GgufVocabulary converted(const std::string& name, const std::string& model, const std::string& pre) {
  const nlohmann::json json = read_json(fixture("tokenizers/" + name + "/tokenizer.json"));
  GgufVocabulary out;
  out.model = model;
  out.pre = pre;
  const auto place = [&](const std::string& text, size_t id, int32_t type) {
    if (out.tokens.size() <= id) {
      out.tokens.resize(id + 1);
      out.token_type.resize(id + 1, 5);
    }
    out.tokens[id] = text;
    out.token_type[id] = type;
  };
  for (const auto& [text, id] : json["model"]["vocab"].items())
    place(text, id, text.size() == 6 && text.starts_with("<0x") ? 6 : 1);
  for (const nlohmann::json& token : json["added_tokens"]) {
    const std::string text = token["content"];
    place(text, token["id"], text == "<unk>" ? 2 : (token["special"].get<bool>() ? 3 : 4));
    if (text == "<s>" || text == "<bos>" || text == "<|begin_of_text|>") out.bos = token["id"].get<int32_t>();
    if (text == "<unk>") out.unk = token["id"].get<int32_t>();
  }
  if (model == "llama") {
    for (size_t i = 0; i < out.tokens.size(); ++i) out.scores.push_back(-static_cast<float>(i));
  } else {
    for (const nlohmann::json& merge : json["model"]["merges"])
      out.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                             : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return out;
}

/// A small SentencePiece vocabulary: <unk>, <s>, </s>, then `pieces`, the first the best.
GgufVocabulary pieces(const Strings& texts) {
  GgufVocabulary out;
  out.model = "llama";
  out.tokens = {"<unk>", "<s>", "</s>"};
  out.token_type = {2, 3, 3};
  out.scores = {0, 0, 0};
  for (const std::string& text : texts) {
    out.tokens.push_back(text);
    out.token_type.push_back(1);
    out.scores.push_back(-static_cast<float>(out.scores.size()));
  }
  return out;
}

// The two formats describe the same tokenizer, but for:
// - bpe-qwen2: GGUF knows no normalizer, so text isn't composed (NFC) first.
// - metaspace-bpe: tokenizer.json puts its mark in front of the input only, and of no space; GGUF in front of every
//   stretch of text between special tokens.
bool documented_difference(const std::string& name, const std::string& text, const Tokenizer& json) {
  if (name == "bpe-qwen2") {
    std::string composed = text;
    REQUIRE(tokenizer::unicode_normalizer(tokenizer::UnicodeForm::nfc)->apply(composed).ok());
    return composed != text;
  }
  if (name != "metaspace-bpe") return false;
  const Ids ids = must_encode(json, text);
  return text.starts_with(" ") || text.starts_with("▁") ||
         std::any_of(ids.begin(), ids.end(), [&](int32_t id) { return json.is_special(id); });
}

}  // namespace

TEST_CASE("gguf: a vocabulary gives the ids and texts of the tokenizer.json it was made from") {
  struct Kind {
    const char *name, *model, *pre;
  };
  for (const Kind& kind : {Kind{"bpe-gpt2", "gpt2", "gpt-2"}, Kind{"bpe-llama3", "gpt2", "llama-bpe"},
                           Kind{"bpe-qwen2", "gpt2", "qwen2"}, Kind{"spm-bpe", "llama", "default"},
                           Kind{"metaspace-bpe", "llama", "default"}, Kind{"gemma-bpe", "llama", "default"}}) {
    const std::string name = kind.name;
    CAPTURE(name);
    GgufVocabulary vocabulary = converted(name, kind.model, kind.pre);
    if (name == "gemma-bpe") vocabulary.add_space_prefix = false;
    const std::unique_ptr<Tokenizer> tokenizer = must_read(vocabulary), json = fixture_tokenizer(name);
    CHECK(tokenizer->vocab_size() == json->vocab_size());
    int n_equal = 0;
    const nlohmann::json tests = read_json(fixture("tokenizers/" + name + "/tests.json"));
    for (const nlohmann::json& test : tests["encode"]) {
      const std::string text = test["text"];
      CAPTURE(text);
      const Ids ids = test["ids"];
      const bool same = must_encode(*tokenizer, text, true) == ids &&
                        must_encode(*tokenizer, text) == test["ids_no_special"].get<Ids>();
      if (!documented_difference(name, text, *json)) CHECK(same);
      n_equal += same;
      CHECK(tokenizer->decode(ids, true) == test["decoded"].get<std::string>());
      CHECK(tokenizer->decode(ids, false) == test["decoded_with_special"].get<std::string>());
      CHECK(streamed(*tokenizer, {}, ids) == test["decoded"].get<std::string>());
    }
    for (const nlohmann::json& test : tests["decode"])
      CHECK(tokenizer->decode(test["ids"].get<Ids>()) == test["decoded"].get<std::string>());
    CHECK(n_equal >= 200);
  }
}

TEST_CASE("gguf: GGUF's own differences from tokenizer.json are as documented") {
  const std::unique_ptr<Tokenizer> qwen2 = must_read(converted("bpe-qwen2", "gpt2", "qwen2")),
                                   json = fixture_tokenizer("bpe-qwen2");
  CHECK(must_encode(*json, "e\u0301") == must_encode(*json, "\u00e9"));
  CHECK(must_encode(*qwen2, "e\u0301") != must_encode(*qwen2, "\u00e9"));
  CHECK(must_encode(*qwen2, "\u00e9") == must_encode(*json, "\u00e9"));
  const std::unique_ptr<Tokenizer> mistral = must_read(converted("metaspace-bpe", "llama", "default"));
  CHECK(entries_of(*mistral, "a[INST]a") == Strings{"▁a", "[INST]", "▁a"});
  CHECK(entries_of(*mistral, " a") == Strings{"▁", "▁a"});
}

TEST_CASE("gguf: SentencePiece merges by score, from the left, and falls back to bytes or the unknown token") {
  CHECK(entries_of(*must_read(pieces({"bc", "ab", "a", "b", "c", "▁"})), "abc") == Strings{"▁", "a", "bc"});
  GgufVocabulary equal = pieces({"aa", "a", "▁"});
  std::fill(equal.scores.begin(), equal.scores.end(), 0.0F);
  CHECK(entries_of(*must_read(equal), "aaa") == Strings{"▁", "aa", "a"});
  // Letters that are no entries may still be parts of one.
  CHECK(entries_of(*must_read(pieces({"ab", "▁"})), "abx") == Strings{"▁", "ab", "<unk>"});
  GgufVocabulary bytes = pieces({"▁", "<0xC3>"});
  bytes.token_type.back() = 6;
  CHECK(entries_of(*must_read(bytes), "é") == Strings{"▁", "<0xC3>", "<unk>"});
  CHECK(entries_of(*must_read(bytes), "<0xC3>") == Strings{"▁", "<unk>", "<unk>", "<unk>", "<unk>", "<unk>", "<unk>"});
}

TEST_CASE("gguf: begin and end tokens come from the file, else from the model's kind") {
  GgufVocabulary spm = pieces({"a", "▁"});
  CHECK(must_encode(*must_read(spm), "", true) == Ids{1});
  spm.add_eos = true;
  spm.bos = 0;
  CHECK(must_encode(*must_read(spm), "", true) == Ids{0, 2});
  spm.add_bos = false;
  CHECK(must_encode(*must_read(spm), "", true) == Ids{2});
  GgufVocabulary bpe = converted("bpe-llama3", "gpt2", "llama-bpe");
  CHECK(must_encode(*must_read(bpe), "", true) == Ids{*bpe.bos});
  bpe.pre = "gpt-2";
  CHECK(must_encode(*must_read(bpe), "", true).empty());
}

TEST_CASE("gguf: a model or pre-tokenizer that decant lacks is named") {
  GgufVocabulary other = pieces({"a"});
  other.model = "t5";
  const Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(other);
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code == ErrorCode::unsupported);
  CHECK(made.error().message.find("'t5'") != std::string::npos);
  GgufVocabulary bpe = converted("bpe-gpt2", "gpt2", "no-such-pre");
  const Result<std::unique_ptr<Tokenizer>> pre = tokenizer_of(bpe);
  REQUIRE_FALSE(pre.ok());
  CHECK(pre.error().code == ErrorCode::unsupported);
  CHECK(pre.error().message.find("'no-such-pre'") != std::string::npos);
}

TEST_CASE("gguf: every known pre-tokenizer compiles, and none changes the text") {
  for (const char* pre : {"", "default", "gpt-2", "gpt2", "llama3", "llama-v3", "llama-bpe", "qwen2", "smollm",
                          "starcoder", "falcon", "gpt-4o", "llama4", "tekken", "deepseek-v3", "dbrx", "chatglm-bpe"}) {
    CAPTURE(pre);
    const std::unique_ptr<Tokenizer> tokenizer = must_read(converted("bpe-gpt2", "gpt2", pre));
    const std::string text = "I'm  12345 $x+=1;\r\n\n 漢字かな Ünïcode…\t'LL don't!! ";
    CHECK(tokenizer->decode(must_encode(*tokenizer, text)) == text);
  }
}

TEST_CASE("gguf: lists that don't fit together are refused") {
  const auto code = [](const GgufVocabulary& vocabulary) {
    const Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(vocabulary);
    return made.ok() ? ErrorCode::ok : made.error().code;
  };
  const GgufVocabulary good = pieces({"a", "▁"});
  CHECK(code(good) == ErrorCode::ok);
  GgufVocabulary v = good;
  v.tokens.clear();
  CHECK(code(v) == ErrorCode::bad_format);
  v = good;
  v.scores.pop_back();
  CHECK(code(v) == ErrorCode::bad_format);
  v = good;
  v.token_type.push_back(1);
  CHECK(code(v) == ErrorCode::bad_format);
  v = good;
  v.scores[0] = std::nanf("");
  CHECK(code(v) == ErrorCode::bad_format);
  v = good;
  v.bos = 1000;
  CHECK(code(v) == ErrorCode::bad_format);
  v = good;
  v.unk = -5;
  CHECK(code(v) == ErrorCode::bad_format);
  v = converted("bpe-gpt2", "gpt2", "gpt-2");
  v.merges.push_back("nospace");
  CHECK(code(v) == ErrorCode::bad_format);
  v.merges.back() = "zzz yyy";
  CHECK(code(v) == ErrorCode::bad_format);
}

TEST_CASE("gguf: entries that are not UTF-8, empty or doubled do no harm") {
  GgufVocabulary v = pieces({"a", "▁", "\xFF\xFE", "", "a", "\xE2\x96"});
  const std::unique_ptr<Tokenizer> tokenizer = must_read(v);
  CHECK(tokenizer->decode(std::vector<int32_t>{5, 6, 8}) == "\uFFFD\uFFFD\uFFFD");
  CHECK(tokenizer->decode(must_encode(*tokenizer, "aa")) == "aa");
}

}  // namespace decant::test
