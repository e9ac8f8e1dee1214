// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "decant/result.h"

#include "engine/model/model_file.h"

namespace decant::model {

/// Reads the headers of the safetensors of a directory: model.safetensors, or the shards that
/// model.safetensors.index.json names. Tensors of types other than F32, F16 and BF16 count as unreadable, see
/// TensorFiles.
///
/// Errors: `io`; `bad_format` (a header that isn't one, truncated files, shapes that don't fit their bytes, a shard
/// outside the directory, a tensor that the index has and its shard lacks).
Result<std::shared_ptr<const TensorFiles>> open_safetensors(const std::string& directory);

}  // namespace decant::model
