// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "decant/dtype.h"

namespace decant::model {

/// A matrix's place in a transformer, as far as mixes tell places apart.
enum class WeightRole { token_embedding, head, v, o, down, other };

/// Which type each matrix of a model gets when llama.cpp quantizes it, without an importance matrix, to one of the
/// types that it has names for. Vectors are always F32. `pure` is what its option of that name does: the head, too, is
/// of the base type. No name stands for one; tests make their own.
struct WeightMix {
  enum class Recipe { plain, q2, q3_medium, more_bits, first_layers, iq4, pure };
  const char* name;    ///< "q4_k_m"
  uint32_t file_type;  ///< general.file_type of GGUF
  DType base;
  Recipe recipe;
};

/// By name, in either case; null for a name that is none.
const WeightMix* find_weight_mix(std::string_view name) noexcept;
/// "f32, f16, …", for messages.
std::string weight_mix_names();

/// What a mix asks about the model.
struct MixedModel {
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  bool tied_head = false;
};

/// The type of one matrix. layer: from 0; of no meaning for token_embedding and head. cols: elements of a row; where
/// the mix's type has blocks that don't divide it, a type with smaller ones takes its place, F16 in the end.
DType mixed_type(const WeightMix& mix, const MixedModel& model, WeightRole role, int layer, int64_t cols) noexcept;

}  // namespace decant::model
