// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "decant/result.h"

#include "engine/model/gguf.h"
#include "engine/model/input_file.h"
#include "engine/model/model_file.h"

namespace decant::model {

/// The header of one GGUF file: metadata and tensors, whose TensorInfo::file is 0.
struct GgufHeader {
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;
};

Result<GgufHeader> read_gguf_header(const InputFile& file);

}  // namespace decant::model
