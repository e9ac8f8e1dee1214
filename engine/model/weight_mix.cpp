// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weight_mix.h"

#include <algorithm>

#include "engine/quant/format.h"

namespace decant::model {
namespace {

using Recipe = WeightMix::Recipe;

constexpr WeightMix kMixes[] = {
    {"f32", 0, DType::f32, Recipe::plain},
    {"f16", 1, DType::f16, Recipe::plain},
    {"bf16", 32, DType::bf16, Recipe::plain},
    {"q8_0", 7, DType::q8_0, Recipe::plain},
    {"q4_0", 2, DType::q4_0, Recipe::plain},
    {"q4_1", 3, DType::q4_1, Recipe::plain},
    {"q5_0", 8, DType::q5_0, Recipe::plain},
    {"q5_1", 9, DType::q5_1, Recipe::plain},
    {"q2_k", 10, DType::q2_k, Recipe::q2},
    {"q3_k_m", 12, DType::q3_k, Recipe::q3_medium},
    {"q4_k_s", 14, DType::q4_k, Recipe::first_layers},
    {"q4_k_m", 15, DType::q4_k, Recipe::more_bits},
    {"q5_k_s", 16, DType::q5_k, Recipe::plain},
    {"q5_k_m", 17, DType::q5_k, Recipe::more_bits},
    {"q6_k", 18, DType::q6_k, Recipe::plain},
    {"iq4_nl", 25, DType::iq4_nl, Recipe::iq4},
    {"iq4_xs", 30, DType::iq4_xs, Recipe::iq4},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// The first and the last eighth of the layers, and every third between.
bool gets_more_bits(int layer, int n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

DType v_type(const WeightMix& mix, const MixedModel& model, int layer) {
  const bool narrow = model.n_heads >= 4 * model.n_kv_heads;  // few rows: more bits cost little
  switch (mix.recipe) {
    case Recipe::q2:
      return narrow ? DType::q4_k : DType::q3_k;
    case Recipe::q3_medium:
      return layer < 2 ? DType::q5_k : DType::q4_k;
    case Recipe::more_bits:
      return gets_more_bits(layer, model.n_layers) ? DType::q6_k : mix.base;
    case Recipe::first_layers:
      return layer < 4 ? DType::q5_k : mix.base;
    case Recipe::iq4:
      return narrow ? DType::q5_k : mix.base;
    case Recipe::plain:
    case Recipe::pure:
      break;
  }
  return mix.base;
}

DType down_type(const WeightMix& mix, int layer, int n_layers) {
  switch (mix.recipe) {
    case Recipe::q2:
      return DType::q3_k;
    case Recipe::q3_medium:
      return layer < n_layers / 16 ? DType::q5_k : DType::q4_k;
    case Recipe::more_bits:
      return gets_more_bits(layer, n_layers) ? DType::q6_k : mix.base;
    case Recipe::first_layers:
    case Recipe::iq4:
      return layer < n_layers / 8 ? DType::q5_k : mix.base;
    case Recipe::plain:
    case Recipe::pure:
      break;
  }
  return mix.base;
}

DType o_type(const WeightMix& mix) {
  if (mix.recipe == Recipe::q2) return DType::q3_k;
  return mix.recipe == Recipe::q3_medium ? DType::q4_k : mix.base;
}

bool divides(DType type, int64_t cols) { return cols % quant::format(type).block_values == 0; }

DType head_type(const WeightMix& mix, int64_t cols) {
  if (!divides(mix.base, cols) || mix.base == DType::q8_0) return DType::q8_0;
  return DType::q6_k;
}

/// The type that takes the place of one with blocks of 256.
DType smaller_blocks(DType type) {
  switch (type) {
    case DType::q2_k:
    case DType::q3_k:
      return DType::q4_0;
    case DType::q4_k:
      return DType::q5_0;
    case DType::q5_k:
      return DType::q5_1;
    case DType::q6_k:
      return DType::q8_0;
    case DType::iq4_xs:
      return DType::iq4_nl;
    default:
      return type;
  }
}

}  // namespace

const WeightMix* find_weight_mix(std::string_view name) noexcept {
  const auto* const found = std::find_if(std::begin(kMixes), std::end(kMixes), [name](const WeightMix& mix) {
    return std::equal(name.begin(), name.end(), mix.name, mix.name + std::string_view(mix.name).size(),
                      [](char a, char b) { return lower(a) == b; });
  });
  return found == std::end(kMixes) ? nullptr : found;
}

std::string weight_mix_names() {
  std::string names;
  for (const WeightMix& mix : kMixes) names += (names.empty() ? "" : ", ") + std::string(mix.name);
  return names;
}

DType mixed_type(const WeightMix& mix, const MixedModel& model, WeightRole role, int layer, int64_t cols) noexcept {
  if (!quant::format(mix.base).quantized) return mix.base;
  DType type = mix.base;
  const bool is_head = role == WeightRole::head || (role == WeightRole::token_embedding && model.tied_head);
  if (is_head && mix.recipe != Recipe::pure) type = head_type(mix, cols);
  if (role == WeightRole::v) {
    type = v_type(mix, model, layer);
    const bool is_70b = model.n_layers == 80 && model.n_heads != model.n_kv_heads;
    if (is_70b && (type == DType::q3_k || type == DType::q4_k)) type = DType::q5_k;
  }
  if (role == WeightRole::o) type = o_type(mix);
  if (role == WeightRole::down) type = down_type(mix, layer, model.n_layers);
  if (!divides(type, cols)) type = smaller_blocks(type);
  return divides(type, cols) ? type : DType::f16;
}

}  // namespace decant::model
