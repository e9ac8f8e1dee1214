// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

namespace decant::tokenizer {

/// What a GGUF file means by a pre-tokenizer's name.
struct GgufPreTokenizer {
  std::vector<std::string_view> patterns;  ///< applied in turn; matches and what lies between become pieces
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file doesn't say
};

/// Null for a name decant doesn't know. An empty name is "default".
const GgufPreTokenizer* find_gguf_pretokenizer(std::string_view name);

}  // namespace decant::tokenizer
