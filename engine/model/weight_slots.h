// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/model/architecture.h"
#include "engine/model/model_config.h"
#include "engine/model/weights.h"

namespace decant::model {

/// A matrix of a layer: where its source is described, where it lies in memory, what it is called.
struct MatrixSlot {
  MatrixSource LayerSources::*source;
  Matrix LayerWeights::*matrix;
  const char* TensorNames::*name;
};

/// A vector of a layer. suffix: follows the name.
struct VectorSlot {
  VectorSource LayerSources::*source;
  Vector LayerWeights::*vector;
  const char* TensorNames::*name;
  const char* suffix;
};

// In the order of loading, which fingerprints depend on.
inline constexpr MatrixSlot kLayerMatrices[] = {
    {&LayerSources::q, &LayerWeights::q, &TensorNames::q},
    {&LayerSources::k, &LayerWeights::k, &TensorNames::k},
    {&LayerSources::v, &LayerWeights::v, &TensorNames::v},
    {&LayerSources::o, &LayerWeights::o, &TensorNames::o},
    {&LayerSources::gate, &LayerWeights::gate, &TensorNames::gate},
    {&LayerSources::up, &LayerWeights::up, &TensorNames::up},
    {&LayerSources::down, &LayerWeights::down, &TensorNames::down},
};
inline constexpr VectorSlot kLayerVectors[] = {
    {&LayerSources::attn_norm, &LayerWeights::attn_norm, &TensorNames::attn_norm, ".weight"},
    {&LayerSources::attn_norm_bias, &LayerWeights::attn_norm_bias, &TensorNames::attn_norm, ".bias"},
    {&LayerSources::q_bias, &LayerWeights::q_bias, &TensorNames::q, ".bias"},
    {&LayerSources::k_bias, &LayerWeights::k_bias, &TensorNames::k, ".bias"},
    {&LayerSources::v_bias, &LayerWeights::v_bias, &TensorNames::v, ".bias"},
    {&LayerSources::o_bias, &LayerWeights::o_bias, &TensorNames::o, ".bias"},
    {&LayerSources::q_norm, &LayerWeights::q_norm, &TensorNames::q_norm, ".weight"},
    {&LayerSources::k_norm, &LayerWeights::k_norm, &TensorNames::k_norm, ".weight"},
    {&LayerSources::ffn_norm, &LayerWeights::ffn_norm, &TensorNames::ffn_norm, ".weight"},
    {&LayerSources::ffn_norm_bias, &LayerWeights::ffn_norm_bias, &TensorNames::ffn_norm, ".bias"},
    {&LayerSources::gate_bias, &LayerWeights::gate_bias, &TensorNames::gate, ".bias"},
    {&LayerSources::up_bias, &LayerWeights::up_bias, &TensorNames::up, ".bias"},
    {&LayerSources::down_bias, &LayerWeights::down_bias, &TensorNames::down, ".bias"},
};

}  // namespace decant::model
