// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "decant/profile.h"

#include "engine/model/model_config.h"

namespace decant::model {

/// Bytes of weights, as the file has them, that each operation of a step reads, however many tokens it computes; of
/// `embed` those of one token. A tied embedding is the head's.
struct WeightBytes {
  using PerOp = std::array<size_t, kOps>;

  PerOp once = {};  ///< of no layer
  std::vector<PerOp> layers;

  size_t of(Op op, int layer) const {
    return (layer < 0 ? once : layers[static_cast<size_t>(layer)])[static_cast<size_t>(op)];
  }
  /// That one token reads, all operations together.
  size_t per_token() const;
};

WeightBytes weight_bytes(const ModelDescription& model);

}  // namespace decant::model
