// SPDX-License-Identifier: Apache-2.0

// Rows of f32, f16 and bf16.

#include <bit>
#include <cstdint>

#include "decant/detail/half.h"

#include "cache/kernels/kv_rows.h"
#include "cache/kernels/kv_tiles.h"

namespace decant::kernels {
namespace {

bool is_finite(float x) { return (std::bit_cast<uint32_t>(x) & 0x7F800000U) != 0x7F800000U; }

/// How a type writes and reads one element. encode() is false for one that doesn't fit.
struct F32 {
  using Stored = float;
  static bool encode(float x, float* to) {
    *to = x;
    return is_finite(x);
  }
  static float decode(float x) { return x; }
};
struct F16 {
  using Stored = uint16_t;
  static bool encode(float x, uint16_t* to) {
    *to = detail::f32_to_f16(x);
    return (*to & 0x7C00U) != 0x7C00U;
  }
  static float decode(uint16_t x) { return detail::f16_to_f32(x); }
};
struct Bfloat16 {
  using Stored = uint16_t;
  static bool encode(float x, uint16_t* to) {
    *to = detail::f32_to_bf16(x);
    return (*to & 0x7F80U) != 0x7F80U;
  }
  static float decode(uint16_t x) { return detail::bf16_to_f32(x); }
};

// A slot's elements lie `step` apart: 16 in a K tile, 1 in a V tile.

template <typename T>
bool store_row(const float* x, int dim, typename T::Stored* out, int step) {
  bool fits = true;
  for (int i = 0; i < dim; ++i) fits = T::encode(x[i], out + static_cast<ptrdiff_t>(i) * step) && fits;
  return fits;
}

template <typename T>
void load_row(const typename T::Stored* in, int dim, int step, float* x) {
  for (int i = 0; i < dim; ++i) x[i] = T::decode(in[static_cast<ptrdiff_t>(i) * step]);
}

template <typename Stored>
void copy_row(const Stored* from, int dim, int step, Stored* to) {
  for (int i = 0; i < dim; ++i) to[static_cast<ptrdiff_t>(i) * step] = from[static_cast<ptrdiff_t>(i) * step];
}

template <typename Stored>
Stored* key_at(std::byte* tile, int lane) {
  return reinterpret_cast<Stored*>(tile) + lane;
}
template <typename Stored>
const Stored* key_at(const std::byte* tile, int lane) {
  return reinterpret_cast<const Stored*>(tile) + lane;
}
template <typename Stored>
Stored* value_at(std::byte* tile, int row, int v_dim) {
  return reinterpret_cast<Stored*>(tile) + static_cast<ptrdiff_t>(row) * v_dim;
}
template <typename Stored>
const Stored* value_at(const std::byte* tile, int row, int v_dim) {
  return reinterpret_cast<const Stored*>(tile) + static_cast<ptrdiff_t>(row) * v_dim;
}

template <typename T>
bool store_k(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row<T>(k, k_dim, key_at<typename T::Stored>(tile, lane), kTileTokens);
}
template <typename T>
bool store_v(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row<T>(v, v_dim, value_at<typename T::Stored>(tile, row, v_dim), 1);
}
template <typename T>
void load_k(const std::byte* tile, int lane, int k_dim, float* k) {
  load_row<T>(key_at<typename T::Stored>(tile, lane), k_dim, kTileTokens, k);
}
template <typename T>
void load_v(const std::byte* tile, int row, int v_dim, float* v) {
  load_row<T>(value_at<typename T::Stored>(tile, row, v_dim), v_dim, 1, v);
}
template <typename T>
void widen_keys(const std::byte* tile, int ch, float* lanes) {
  load_row<T>(value_at<typename T::Stored>(tile, ch, kTileTokens), kTileTokens, 1, lanes);
}
template <typename T>
void widen_values(const std::byte* tile, int row, int v_dim, int block, float* values) {
  const auto* const v = value_at<typename T::Stored>(tile, row, v_dim);
  load_row<T>(v + static_cast<ptrdiff_t>(block) * kBlockChannels, block_channels(v_dim, block), 1, values);
}

}  // namespace

bool store_k_f32(const float* k, int k_dim, std::byte* tile, int lane) { return store_k<F32>(k, k_dim, tile, lane); }
bool store_k_f16(const float* k, int k_dim, std::byte* tile, int lane) { return store_k<F16>(k, k_dim, tile, lane); }
bool store_k_bf16(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_k<Bfloat16>(k, k_dim, tile, lane);
}
bool store_v_f32(const float* v, int v_dim, std::byte* tile, int row) { return store_v<F32>(v, v_dim, tile, row); }
bool store_v_f16(const float* v, int v_dim, std::byte* tile, int row) { return store_v<F16>(v, v_dim, tile, row); }
bool store_v_bf16(const float* v, int v_dim, std::byte* tile, int row) {
  return store_v<Bfloat16>(v, v_dim, tile, row);
}

void load_k_f32(const std::byte* tile, int lane, int k_dim, float* k) { load_k<F32>(tile, lane, k_dim, k); }
void load_k_f16(const std::byte* tile, int lane, int k_dim, float* k) { load_k<F16>(tile, lane, k_dim, k); }
void load_k_bf16(const std::byte* tile, int lane, int k_dim, float* k) { load_k<Bfloat16>(tile, lane, k_dim, k); }
void load_v_f32(const std::byte* tile, int row, int v_dim, float* v) { load_v<F32>(tile, row, v_dim, v); }
void load_v_f16(const std::byte* tile, int row, int v_dim, float* v) { load_v<F16>(tile, row, v_dim, v); }
void load_v_bf16(const std::byte* tile, int row, int v_dim, float* v) { load_v<Bfloat16>(tile, row, v_dim, v); }

void copy_k_f32(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane) {
  copy_row(key_at<float>(from, from_lane), k_dim, kTileTokens, key_at<float>(to, to_lane));
}
void copy_k_16(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane) {
  copy_row(key_at<uint16_t>(from, from_lane), k_dim, kTileTokens, key_at<uint16_t>(to, to_lane));
}
void copy_v_f32(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row) {
  copy_row(value_at<float>(from, from_row, v_dim), v_dim, 1, value_at<float>(to, to_row, v_dim));
}
void copy_v_16(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row) {
  copy_row(value_at<uint16_t>(from, from_row, v_dim), v_dim, 1, value_at<uint16_t>(to, to_row, v_dim));
}

void widen_keys_f32(const std::byte* tile, int ch, float* lanes) { widen_keys<F32>(tile, ch, lanes); }
void widen_keys_f16(const std::byte* tile, int ch, float* lanes) { widen_keys<F16>(tile, ch, lanes); }
void widen_keys_bf16(const std::byte* tile, int ch, float* lanes) { widen_keys<Bfloat16>(tile, ch, lanes); }
void widen_values_f32(const std::byte* tile, int row, int v_dim, int block, float* values) {
  widen_values<F32>(tile, row, v_dim, block, values);
}
void widen_values_f16(const std::byte* tile, int row, int v_dim, int block, float* values) {
  widen_values<F16>(tile, row, v_dim, block, values);
}
void widen_values_bf16(const std::byte* tile, int row, int v_dim, int block, float* values) {
  widen_values<Bfloat16>(tile, row, v_dim, block, values);
}

}  // namespace decant::kernels
