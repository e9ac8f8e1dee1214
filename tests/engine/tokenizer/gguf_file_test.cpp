// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "engine/model/model_config.h"
#include "engine/tokenizer/normalizer.h"
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Ids = std::vector<int32_t>;

std::string composed(std::string text) {
  REQUIRE(tokenizer::unicode_normalizer(tokenizer::UnicodeForm::nfc)->apply(text).ok());
  return text;
}

}  // namespace

// GGUF has no normalizer, so the vocabulary of qwen2 and qwen3 differs from tokenizer.json in text that isn't composed
// (NFC); such strings are compared in their composed spelling.
TEST_CASE("gguf: the vocabulary of a model file gives the ids of the tokenizer.json it was converted from") {
  struct File {
    const char *model, *tokenizer;
  };
  int n_files = 0;
  for (const File& file :
       {File{"gpt2-f16", "bpe-gpt2"}, File{"llama-gqa-f16", "bpe-llama3"}, File{"llama-gqa-q8_0", "bpe-llama3"},
        File{"llama-kmix", "bpe-llama3"}, File{"llama-mha-f16", "spm-bpe"}, File{"qwen2-q8_0", "bpe-qwen2"},
        File{"qwen3-f16", "bpe-qwen2"}}) {
    const std::string path = fixture(std::string("gguf/") + file.model + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    CAPTURE(path);
    Result<model::ModelDescription> described = model::describe(path);
    REQUIRE_MESSAGE(described.ok(), described.error().message);
    Result<std::unique_ptr<Tokenizer>> made = tokenizer::make_tokenizer(described->tokenizer);
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    const Tokenizer& tokenizer = **made;
    const std::unique_ptr<Tokenizer> json = fixture_tokenizer(file.tokenizer);
    CHECK(tokenizer.vocab_size() == json->vocab_size());
    for (int32_t id = 0; id < json->vocab_size(); ++id) {
      CHECK(tokenizer.entry(id) == json->entry(id));
      CHECK(tokenizer.is_special(id) == json->is_special(id));
    }
    const nlohmann::json tests = read_json(fixture(std::string("tokenizers/") + file.tokenizer + "/tests.json"));
    for (const nlohmann::json& test : tests["encode"]) {
      std::string text = test["text"];
      CAPTURE(text);
      if (std::string(file.tokenizer) == "bpe-qwen2") text = composed(text);
      const Ids ids = test["ids"];
      CHECK(must_encode(tokenizer, text, true) == ids);
      CHECK(must_encode(tokenizer, text, false) == test["ids_no_special"].get<Ids>());
      CHECK(tokenizer.decode(ids) == test["decoded"].get<std::string>());
      CHECK(tokenizer.decode(ids, false) == test["decoded_with_special"].get<std::string>());
    }
    for (const nlohmann::json& test : tests["decode"])
      CHECK(tokenizer.decode(test["ids"].get<Ids>()) == test["decoded"].get<std::string>());
    ++n_files;
  }
  CHECK(n_files >= 5);
}

}  // namespace decant::test
