// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include "decant/result.h"

#include "engine/model/hyperparameters.h"
#include "engine/model/model_config.h"

namespace decant::model {

/// Where the weights of a model are, and which tensors that took.
struct BoundWeights {
  WeightSources sources;
  std::set<const TensorInfo*> used;
};

/// Finds every weight that the configuration wants by its family's names and checks its shape. With `is_gguf` a missing
/// head is a tied one. `path` names the model in messages about tensors that are missing.
///
/// Errors: `bad_format` (missing, or of another shape than the configuration wants), `unsupported` (a type decant
/// lacks).
Result<BoundWeights> bind_weights(const Hyperparameters& hyper, const TensorFiles& files, bool is_gguf,
                                  const std::string& path);

}  // namespace decant::model
