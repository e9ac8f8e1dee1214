// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decant/result.h"
#include "decant/tokenizer.h"

namespace decant::tokenizer {

/// A tokenizer as GGUF metadata describes it; fields bear GGUF's names (tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  ///< "gpt2" (byte-level BPE), "llama" (SentencePiece BPE)
  std::string pre;    ///< pre-tokenizer's name: "default", "llama-bpe", "qwen2", "gpt-2", …
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_type;  ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<std::string> merges;  ///< "left right"
  std::optional<int32_t> bos, eos, unk;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

/// Where a model's tokenizer comes from: exactly one of the two, or neither.
struct TokenizerSource {
  std::optional<std::string> tokenizer_json;         ///< text of tokenizer.json
  std::optional<std::string> tokenizer_config_json;  ///< text of tokenizer_config.json, beside it
  std::optional<GgufVocabulary> gguf;
};

/// Builds a tokenizer. `unsupported` names the component that decant lacks; `bad_format` what is wrong with the file.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerSource& source);

}  // namespace decant::tokenizer
