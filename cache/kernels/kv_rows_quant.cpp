// SPDX-License-Identifier: Apache-2.0

// Rows of q8, q4_plain and q4: blocks of up to 32 channels that share a scale. Encoding is that of ggml's Q8_0 and
// Q4_0; binary16 scales times integers are exact in binary32.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "decant/detail/half.h"

#include "cache/kernels/hadamard.h"
#include "cache/kernels/kv_rows.h"
#include "cache/kernels/kv_tiles.h"

namespace decant::kernels {
namespace {

constexpr int kMaxRun = 1024;  // channels rotated at a time: the greatest Hadamard block

uint16_t get_scale(const std::byte* at) {
  uint16_t scale;
  std::memcpy(&scale, at, sizeof scale);
  return scale;
}
void put_scale(std::byte* at, uint16_t scale) { std::memcpy(at, &scale, sizeof scale); }

std::byte low_and_high(int low, int high) { return static_cast<std::byte>(low | high << 4); }
int low_of(std::byte both) { return static_cast<int>(both) & 15; }
int high_of(std::byte both) { return static_cast<int>(both) >> 4; }

/// A block of one slot: value i is scale · integer i.
struct Block {
  uint16_t scale = 0;
  int8_t q[kBlockChannels] = {};
};

/// The element of greatest magnitude, the first of several; not finite if any element is not.
float signed_max(const float* x, int n) {
  uint32_t greatest = 0;
  float max = 0.0F;
  for (int i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFU;  // in the order of the numbers, NaN on top
    if (magnitude <= greatest) continue;
    greatest = magnitude;
    max = x[i];
  }
  return max;
}

bool is_finite_half(uint16_t half) { return (half & 0x7C00U) != 0x7C00U; }
float inverse(float d) { return d != 0.0F ? 1.0F / d : 0.0F; }

/// To the nearest integer, halves away from zero. A scale too small to have an inverse gives infinities: 0 then. By
/// integers, as jumps on signs and fractions would go wrong half of the time: 2 ns a number instead of 16.
int8_t round_8(float level) {
  const uint32_t bits = std::bit_cast<uint32_t>(level);
  const int negative = static_cast<int>(bits >> 31);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  const uint32_t in_range = magnitude <= std::bit_cast<uint32_t>(127.5F) ? ~0U : 0U;
  const float x = std::bit_cast<float>(magnitude & in_range);
  int whole = static_cast<int>(x);
  const uint32_t rest = std::bit_cast<uint32_t>(x - static_cast<float>(whole));
  whole += static_cast<int>(rest >= std::bit_cast<uint32_t>(0.5F));
  whole -= static_cast<int>(whole > 127);
  return static_cast<int8_t>((whole ^ -negative) + negative);
}

/// False if an element is not finite, or the scale not as binary16.
bool encode_8(const float* x, int n, Block* block) {
  const float max = signed_max(x, n);
  const float d = (max < 0.0F ? -max : max) / 127.0F;
  const float id = inverse(d);
  block->scale = detail::f32_to_f16(d);
  if (!is_finite_half(block->scale)) return false;
  for (int i = 0; i < n; ++i) block->q[i] = round_8(x[i] * id);
  return true;
}

/// Levels 0 … 15 for −8 … 7. The sum is binary64, as where ggml's compiler fuses it with the product.
bool encode_4(const float* x, int n, Block* block) {
  const float d = signed_max(x, n) / -8.0F;
  const double id = static_cast<double>(inverse(d));
  block->scale = detail::f32_to_f16(d);
  if (!is_finite_half(block->scale)) return false;
  for (int i = 0; i < n; ++i) {
    const double level = static_cast<double>(x[i]) * id + 8.5;
    block->q[i] = static_cast<int8_t>(!(level > 0.0) ? 0 : level >= 15.0 ? 15 : static_cast<int>(level));
  }
  return true;
}

/// How q8 lies in tiles; put() and get() of one block of a slot.
struct Q8 {
  static bool encode(const float* x, int n, Block* block) { return encode_8(x, n, block); }
  static float decode(float scale, int8_t q) { return scale * static_cast<float>(q); }

  static void put_k(const Block& block, std::byte* tile, int, int b, int n, int lane) {
    std::byte* const at = tile + b * kKeys8Bytes;
    put_scale(at + lane * kScaleBytes, block.scale);
    for (int i = 0; i < n; ++i) at[kScalesBytes + i * kTileTokens + lane] = static_cast<std::byte>(block.q[i]);
  }
  static Block get_k(const std::byte* tile, int, int b, int n, int lane) {
    const std::byte* const at = tile + b * kKeys8Bytes;
    Block block{.scale = get_scale(at + lane * kScaleBytes)};
    for (int i = 0; i < n; ++i) block.q[i] = static_cast<int8_t>(at[kScalesBytes + i * kTileTokens + lane]);
    return block;
  }
  static void put_v(const Block& block, std::byte* tile, int v_dim, int b, int n, int row) {
    put_scale(tile + b * kScalesBytes + row * kScaleBytes, block.scale);
    std::memcpy(row_at(tile, v_dim, b, row), block.q, static_cast<size_t>(n));
  }
  static Block get_v(const std::byte* tile, int v_dim, int b, int n, int row) {
    Block block{.scale = get_scale(tile + b * kScalesBytes + row * kScaleBytes)};
    std::memcpy(block.q, row_at(tile, v_dim, b, row), static_cast<size_t>(n));
    return block;
  }

 private:
  template <typename Byte>
  static Byte* row_at(Byte* tile, int v_dim, int b, int row) {
    return tile + values_at(v_dim) + static_cast<ptrdiff_t>(row) * v_dim + b * kBlockChannels;
  }
};

/// The same for four bits. A half of a byte that no channel has is 0.
struct Q4 {
  static bool encode(const float* x, int n, Block* block) { return encode_4(x, n, block); }
  static float decode(float scale, int8_t q) { return scale * static_cast<float>(q - 8); }

  static void put_k(const Block& block, std::byte* tile, int, int b, int n, int lane) {
    std::byte* const at = tile + b * kKeys4Bytes;
    put_scale(at + lane * kScaleBytes, block.scale);
    for (int i = 0; i < n; i += 2)
      at[kScalesBytes + i / 2 * kTileTokens + lane] = low_and_high(block.q[i], i + 1 < n ? block.q[i + 1] : 0);
  }
  static Block get_k(const std::byte* tile, int, int b, int n, int lane) {
    const std::byte* const at = tile + b * kKeys4Bytes;
    Block block{.scale = get_scale(at + lane * kScaleBytes)};
    for (int i = 0; i < n; ++i) {
      const std::byte both = at[kScalesBytes + i / 2 * kTileTokens + lane];
      block.q[i] = static_cast<int8_t>(i % 2 == 0 ? low_of(both) : high_of(both));
    }
    return block;
  }
  static void put_v(const Block& block, std::byte* tile, int v_dim, int b, int n, int row) {
    put_scale(tile + b * kScalesBytes + row * kScaleBytes, block.scale);
    std::byte* const at = row_at(tile, v_dim, b, row);
    const int half = half_block4(n);
    for (int i = 0; i < block4_bytes(n); ++i) at[i] = low_and_high(block.q[i], half + i < n ? block.q[half + i] : 0);
  }
  static Block get_v(const std::byte* tile, int v_dim, int b, int n, int row) {
    Block block{.scale = get_scale(tile + b * kScalesBytes + row * kScaleBytes)};
    const std::byte* const at = row_at(tile, v_dim, b, row);
    const int half = half_block4(n);
    for (int i = 0; i < n; ++i) block.q[i] = static_cast<int8_t>(i < half ? low_of(at[i]) : high_of(at[i - half]));
    return block;
  }

 private:
  template <typename Byte>
  static Byte* row_at(Byte* tile, int v_dim, int b, int row) {
    return tile + values_at(v_dim) + row * row4_bytes(v_dim) + b * kBlockChannels / 2;
  }
};

using Put = void(const Block& block, std::byte* tile, int dim, int b, int n, int slot);
using Get = Block(const std::byte* tile, int dim, int b, int n, int slot);

/// Channels [32 · b, 32 · b + n_channels) of a row, whose first one is *x.
template <typename T>
bool store_blocks(const float* x, int n_channels, int b, Put* put, int dim, std::byte* tile, int slot) {
  bool fits = true;
  for (; n_channels > 0; ++b, x += kBlockChannels, n_channels -= kBlockChannels) {
    const int n = std::min(kBlockChannels, n_channels);
    Block block;
    fits = T::encode(x, n, &block) && fits;
    put(block, tile, dim, b, n, slot);
  }
  return fits;
}

template <typename T>
bool store_row(const float* x, Put* put, int dim, std::byte* tile, int slot) {
  return store_blocks<T>(x, dim, 0, put, dim, tile, slot);
}

bool store_rotated(const float* x, Put* put, int dim, std::byte* tile, int slot) {
  const int mixed = hadamard_block(dim);
  const int run = std::max(mixed, kBlockChannels);
  bool fits = true;
  for (int first = 0; first < dim; first += run) {
    const int n = std::min(run, dim - first);
    float rotated[kMaxRun];
    std::copy_n(x + first, n, rotated);
    hadamard(rotated, n, mixed);
    fits = store_blocks<Q4>(rotated, n, first / kBlockChannels, put, dim, tile, slot) && fits;
  }
  return fits;
}

template <typename T>
void decode_block(const Block& block, int n, float* x) {
  const float scale = detail::f16_to_f32(block.scale);
  for (int i = 0; i < n; ++i) x[i] = T::decode(scale, block.q[i]);
}

template <typename T>
void load_row(const std::byte* tile, int slot, int dim, Get* get, float* x) {
  for (int b = 0; b < n_blocks(dim); ++b) {
    const int n = block_channels(dim, b);
    decode_block<T>(get(tile, dim, b, n, slot), n, x + static_cast<ptrdiff_t>(b) * kBlockChannels);
  }
}

void copy_row(const std::byte* from, int from_slot, int dim, Get* get, Put* put, std::byte* to, int to_slot) {
  for (int b = 0; b < n_blocks(dim); ++b) {
    const int n = block_channels(dim, b);
    put(get(from, dim, b, n, from_slot), to, dim, b, n, to_slot);
  }
}

}  // namespace

bool store_k_q8(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row<Q8>(k, Q8::put_k, k_dim, tile, lane);
}
bool store_v_q8(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row<Q8>(v, Q8::put_v, v_dim, tile, row);
}
bool store_k_q4_plain(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row<Q4>(k, Q4::put_k, k_dim, tile, lane);
}
bool store_v_q4_plain(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row<Q4>(v, Q4::put_v, v_dim, tile, row);
}
bool store_k_q4(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_rotated(k, Q4::put_k, k_dim, tile, lane);
}
bool store_v_q4(const float* v, int v_dim, std::byte* tile, int row) {
  return store_rotated(v, Q4::put_v, v_dim, tile, row);
}

void load_k_q8(const std::byte* tile, int lane, int k_dim, float* k) { load_row<Q8>(tile, lane, k_dim, Q8::get_k, k); }
void load_v_q8(const std::byte* tile, int row, int v_dim, float* v) { load_row<Q8>(tile, row, v_dim, Q8::get_v, v); }
void load_k_q4_plain(const std::byte* tile, int lane, int k_dim, float* k) {
  load_row<Q4>(tile, lane, k_dim, Q4::get_k, k);
}
void load_v_q4_plain(const std::byte* tile, int row, int v_dim, float* v) {
  load_row<Q4>(tile, row, v_dim, Q4::get_v, v);
}
void load_k_q4(const std::byte* tile, int lane, int k_dim, float* k) {
  load_row<Q4>(tile, lane, k_dim, Q4::get_k, k);
  hadamard(k, k_dim, hadamard_block(k_dim));
}
void load_v_q4(const std::byte* tile, int row, int v_dim, float* v) {
  load_row<Q4>(tile, row, v_dim, Q4::get_v, v);
  hadamard(v, v_dim, hadamard_block(v_dim));
}

void copy_k_q8(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane) {
  copy_row(from, from_lane, k_dim, Q8::get_k, Q8::put_k, to, to_lane);
}
void copy_v_q8(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row) {
  copy_row(from, from_row, v_dim, Q8::get_v, Q8::put_v, to, to_row);
}
void copy_k_q4(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane) {
  copy_row(from, from_lane, k_dim, Q4::get_k, Q4::put_k, to, to_lane);
}
void copy_v_q4(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row) {
  copy_row(from, from_row, v_dim, Q4::get_v, Q4::put_v, to, to_row);
}

void widen_keys_q8(const std::byte* tile, int ch, float* lanes) {
  const std::byte* const at = tile + ch / kBlockChannels * kKeys8Bytes;
  const std::byte* const q = at + kScalesBytes + ch % kBlockChannels * kTileTokens;
  for (int lane = 0; lane < kTileTokens; ++lane)
    lanes[lane] = Q8::decode(detail::f16_to_f32(get_scale(at + lane * kScaleBytes)), static_cast<int8_t>(q[lane]));
}
void widen_keys_q4(const std::byte* tile, int ch, float* lanes) {
  const std::byte* const at = tile + ch / kBlockChannels * kKeys4Bytes;
  const std::byte* const q = at + kScalesBytes + ch % kBlockChannels / 2 * kTileTokens;
  for (int lane = 0; lane < kTileTokens; ++lane) {
    const int level = ch % 2 == 0 ? low_of(q[lane]) : high_of(q[lane]);
    lanes[lane] = Q4::decode(detail::f16_to_f32(get_scale(at + lane * kScaleBytes)), static_cast<int8_t>(level));
  }
}
void widen_values_q8(const std::byte* tile, int row, int v_dim, int block, float* values) {
  const int n = block_channels(v_dim, block);
  decode_block<Q8>(Q8::get_v(tile, v_dim, block, n, row), n, values);
}
void widen_values_q4(const std::byte* tile, int row, int v_dim, int block, float* values) {
  const int n = block_channels(v_dim, block);
  decode_block<Q4>(Q4::get_v(tile, v_dim, block, n, row), n, values);
}

}  // namespace decant::kernels
