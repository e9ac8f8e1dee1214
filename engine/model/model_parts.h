// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "decant/model.h"

#include "engine/model/model_config.h"
#include "engine/model/weight_bytes.h"
#include "engine/model/weights.h"

namespace decant {

/// What a Model holds.
struct Model::Parts {
  ModelInfo info;
  model::ModelConfig config;
  model::Weights weights;
  GenerationDefaults defaults;
  std::vector<int32_t> end_ids;
  std::unique_ptr<const Tokenizer> tokenizer;
  Error tokenizer_error;  ///< why there is no tokenizer
  size_t tokenizer_bytes = 0;
  LoadTimes load_times;
  model::WeightBytes weight_bytes;
  Numerics numerics = Numerics::exact;
};

}  // namespace decant
