// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/tokenizer_source.h"

#include "engine/tokenizer/gguf_tokenizer.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace decant::tokenizer {

Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerSource& source) {
  if (source.tokenizer_json) return read_tokenizer_json(*source.tokenizer_json);
  if (source.gguf) return read_gguf_tokenizer(*source.gguf);
  return Error{ErrorCode::unsupported, "the model comes without a tokenizer.json and without a GGUF vocabulary"};
}

}  // namespace decant::tokenizer
