// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>

#include "decant/dtype.h"
#include "decant/result.h"

namespace decant::model {

struct ConvertOptions {
  std::string name;         ///< general.name; empty: the folder's name
  std::string description;  ///< general.description; empty: left out
  std::string license;      ///< general.license, e.g. "mit"; empty: left out
  /// Told after each tensor how many bytes of the new file's weights are written. May be empty.
  std::function<void(size_t bytes_done, size_t bytes_total)> progress;
  /// convert() returns `cancelled`.
  std::stop_token stop;
};

/// Writes a directory of config.json, safetensors and tokenizer.json as one GGUF file, as llama.cpp's converter would:
/// matrices and token embeddings of `type` (F32, F16, BF16 or Q8_0; F16 where Q8_0's blocks don't fit the rows),
/// learned positions and vectors F32, q and k of the llama family with rotary pairs side by side. Memory: one tensor at
/// a time.
///
/// The target appears complete or not at all. Errors: as describe(); `unsupported` (a type decant doesn't write, a
/// tokenizer or windows that GGUF can't express); `bad_format` (a weight that isn't finite, or beyond F16's range);
/// `io` (the disk is full, …); `cancelled`.
Status convert(const std::string& directory, const std::string& gguf_path, DType type,
               const ConvertOptions& options = {});

}  // namespace decant::model
