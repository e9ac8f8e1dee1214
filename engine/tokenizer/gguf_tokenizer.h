// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "engine/tokenizer/tokenizer_source.h"

namespace decant::tokenizer {

/// A tokenizer of GGUF metadata. `unsupported` names a model or pre-tokenizer that decant lacks.
Result<std::unique_ptr<Tokenizer>> read_gguf_tokenizer(const GgufVocabulary& vocabulary);

}  // namespace decant::tokenizer
