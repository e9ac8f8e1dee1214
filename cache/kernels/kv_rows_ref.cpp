// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "decant/detail/half.h"

#include "cache/kernels/attention_tables.h"

namespace decant::kernels {

namespace {

bool is_finite(float x) { return (std::bit_cast<uint32_t>(x) & 0x7F800000U) != 0x7F800000U; }

// A slot's elements lie `step` apart: 16 in a K tile, 1 in a V tile.

bool store_row_f32(const float* x, int dim, float* out, int step) {
  bool fits = true;
  for (int i = 0; i < dim; ++i) {
    fits = fits && is_finite(x[i]);
    out[static_cast<ptrdiff_t>(i) * step] = x[i];
  }
  return fits;
}

bool store_row_f16(const float* x, int dim, uint16_t* out, int step) {
  bool fits = true;
  for (int i = 0; i < dim; ++i) {
    const uint16_t half = detail::f32_to_f16(x[i]);
    fits = fits && (half & 0x7C00U) != 0x7C00U;
    out[static_cast<ptrdiff_t>(i) * step] = half;
  }
  return fits;
}

void load_row_f32(const float* in, int dim, int step, float* x) {
  for (int i = 0; i < dim; ++i) x[i] = in[static_cast<ptrdiff_t>(i) * step];
}

void load_row_f16(const uint16_t* in, int dim, int step, float* x) {
  for (int i = 0; i < dim; ++i) x[i] = detail::f16_to_f32(in[static_cast<ptrdiff_t>(i) * step]);
}

template <typename T>
T* row_of(std::byte* tile, int row, int v_dim) {
  return reinterpret_cast<T*>(tile) + static_cast<ptrdiff_t>(row) * v_dim;
}
template <typename T>
const T* row_of(const std::byte* tile, int row, int v_dim) {
  return reinterpret_cast<const T*>(tile) + static_cast<ptrdiff_t>(row) * v_dim;
}

}  // namespace

bool store_k_f32(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row_f32(k, k_dim, reinterpret_cast<float*>(tile) + lane, kTileTokens);
}
bool store_k_f16(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row_f16(k, k_dim, reinterpret_cast<uint16_t*>(tile) + lane, kTileTokens);
}
bool store_v_f32(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row_f32(v, v_dim, row_of<float>(tile, row, v_dim), 1);
}
bool store_v_f16(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row_f16(v, v_dim, row_of<uint16_t>(tile, row, v_dim), 1);
}

void load_k_f32(const std::byte* tile, int lane, int k_dim, float* k) {
  load_row_f32(reinterpret_cast<const float*>(tile) + lane, k_dim, kTileTokens, k);
}
void load_k_f16(const std::byte* tile, int lane, int k_dim, float* k) {
  load_row_f16(reinterpret_cast<const uint16_t*>(tile) + lane, k_dim, kTileTokens, k);
}
void load_v_f32(const std::byte* tile, int row, int v_dim, float* v) {
  load_row_f32(row_of<float>(tile, row, v_dim), v_dim, 1, v);
}
void load_v_f16(const std::byte* tile, int row, int v_dim, float* v) {
  load_row_f16(row_of<uint16_t>(tile, row, v_dim), v_dim, 1, v);
}

void widen_f16(const uint16_t* half, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = detail::f16_to_f32(half[i]);
}

}  // namespace decant::kernels
