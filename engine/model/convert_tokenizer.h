// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "decant/result.h"

#include "engine/model/json.h"
#include "engine/tokenizer/tokenizer_source.h"

namespace decant::model {

/// A tokenizer.json in GGUF's terms.
struct ConvertedTokenizer {
  tokenizer::GgufVocabulary vocabulary;
  std::optional<int32_t> padding;
  std::string chat_template;  ///< empty: none
};

/// tokenizer_config and config give the ids of special tokens, vocab_size the length that tokens are filled up to.
/// `unsupported` for what GGUF can't express so that the ids stay the same: models other than BPE, a split pattern
/// without a name in GGUF, merges in another order than the vocabulary's, added tokens that swallow spaces.
Result<ConvertedTokenizer> convert_tokenizer(const Json& tokenizer, const Json& tokenizer_config, const Json& config,
                                             int vocab_size, const std::string& path);

}  // namespace decant::model
