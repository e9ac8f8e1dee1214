// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "engine/tokenizer/pipeline.h"

namespace decant::tokenizer {

/// Reads the text of a tokenizer.json of Hugging Face. `bad_format`, or `unsupported` naming the component.
/// Its `truncation` and `padding` are not read: a text is encoded as it is.
Result<std::unique_ptr<Tokenizer>> read_tokenizer_json(std::string_view text);

}  // namespace decant::tokenizer
