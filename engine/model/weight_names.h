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

/// Whose names and shapes of tensors a model has.
enum class WeightLayout { hugging_face, gguf, packed };

/// The names of a family under a layout.
const TensorNames& tensor_names(const Architecture& architecture, WeightLayout layout) noexcept;

/// Finds every weight that the configuration wants by its family's names and checks its shape. Except under Hugging
/// Face's layout a missing head is a tied one. `path` names the model in messages about tensors that are missing.
///
/// Errors: `bad_format` (missing, or of another shape than the configuration wants), `unsupported` (a type decant
/// lacks).
Result<BoundWeights> bind_weights(const Hyperparameters& hyper, const TensorFiles& files, WeightLayout layout,
                                  const std::string& path);

}  // namespace decant::model
