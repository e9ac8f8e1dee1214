// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/format.h"

#include <cstring>

#include <emmintrin.h>

#include "decant/detail/half.h"

#include "engine/quant/blocks.h"
#include "engine/quant/encode.h"
#include "engine/quant/tile_lanes.h"

namespace decant::quant {
namespace {

float widen_f32(const std::byte* p) {
  float value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
float widen_f16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return detail::f16_to_f32(value);
}
float widen_bf16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return detail::bf16_to_f32(value);
}

/// [16 rows][n] → [n][16 rows]; rows of `from` are `stride` words apart.
void transpose_words(const uint32_t* from, size_t stride, int n, std::byte* to) {
  constexpr size_t kRowBytes = sizeof(uint32_t) * kTileRows;
  int i = 0;
  for (; i + 4 <= n; i += 4, to += 4 * kRowBytes) {
    for (int r = 0; r < kTileRows; r += 4) {
      __m128i row[4];
      for (int j = 0; j < 4; ++j)
        row[j] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + static_cast<size_t>(r + j) * stride + i));
      const __m128i a = _mm_unpacklo_epi32(row[0], row[1]), b = _mm_unpacklo_epi32(row[2], row[3]);
      const __m128i c = _mm_unpackhi_epi32(row[0], row[1]), d = _mm_unpackhi_epi32(row[2], row[3]);
      const __m128i out[4] = {_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b), _mm_unpacklo_epi64(c, d),
                              _mm_unpackhi_epi64(c, d)};
      for (size_t j = 0; j < 4; ++j) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j * kRowBytes) + r / 4, out[j]);
    }
  }
  for (; i < n; ++i, to += kRowBytes)
    for (int r = 0; r < kTileRows; ++r) std::memcpy(to + 4 * r, from + static_cast<size_t>(r) * stride + i, 4);
}

template <typename Block>
void pack_tile(const std::byte* const rows[kTileRows], int n, std::byte* tile) {
  constexpr int kHalves = n_halves<Block>(), kWords = n_words<Block>();
  Lanes<Block> lanes[kTileRows];
  constexpr size_t kStride = sizeof(Lanes<Block>) / 4;
  for (int b = 0; b < n / Block::kValues; ++b, tile += tile_block_bytes<Block>()) {
    for (int r = 0; r < kTileRows; ++r) {
      if (rows[r] != nullptr)
        to_lanes(rows[r] + static_cast<ptrdiff_t>(b) * Block::kBytes, lanes[r]);
      else
        lanes[r] = {};
    }
    uint16_t halves[kHalves + 1][kTileRows];
    for (int i = 0; i < kHalves; ++i)
      for (int r = 0; r < kTileRows; ++r) halves[i][r] = lanes[r].halves[i];
    std::memcpy(tile, halves, size_t{2} * kHalves * kTileRows);
    if constexpr (kWords > 0) transpose_words(lanes[0].words, kStride, kWords, tile + size_t{2} * kHalves * kTileRows);
    constexpr int kUsed = kTileRows * (2 * kHalves + 4 * kWords);
    std::memset(tile + kUsed, 0, static_cast<size_t>(tile_block_bytes<Block>() - kUsed));
  }
}

/// Rows of plain numbers: 16 columns at a time.
template <typename T>
void pack_float_tile(const std::byte* const rows[kTileRows], int n, std::byte* tile) {
  constexpr int kCols = 16;
  T in[kTileRows][kCols] = {};
  T out[kCols][kTileRows];
  for (int k = 0; k < n; k += kCols) {
    const int cols = n - k < kCols ? n - k : kCols;
    for (int r = 0; r < kTileRows; ++r)
      if (rows[r] != nullptr) std::memcpy(in[r], rows[r] + static_cast<size_t>(k) * sizeof(T), sizeof(T) * cols);
    for (int c = 0; c < kCols; ++c)
      for (int r = 0; r < kTileRows; ++r) out[c][r] = in[r][c];
    std::memcpy(tile, out, sizeof(T) * kTileRows * cols);
    tile += sizeof(T) * kTileRows * cols;
  }
}

template <typename Block>
void gather_block(const std::byte* tile_block, int r, std::byte* block) {
  Lanes<Block> lanes;
  for (int i = 0; i < n_halves<Block>(); ++i) std::memcpy(&lanes.halves[i], tile_block + 2 * (kTileRows * i + r), 2);
  const std::byte* const words = tile_block + 2 * kTileRows * n_halves<Block>();
  for (int i = 0; i < n_words<Block>(); ++i) std::memcpy(&lanes.words[i], words + 4 * (kTileRows * i + r), 4);
  from_lanes(lanes, block);
}

template <typename Block>
void decode_block(const std::byte* block, float* out) {
  SubBlock sub;
  for (int i = 0; i < Block::kValues / kBlock; ++i, out += kBlock) {
    Block::unpack(block, i, &sub);
    for (int k = 0; k < kBlock; ++k) {
      out[k] = sub.scale[k / 16] * static_cast<float>(sub.w[k]) - sub.min[k / 16];
    }
  }
}

template <typename Block>
void decode_row(const std::byte* row, int n, float* out) {
  for (; n > 0; n -= Block::kValues, row += Block::kBytes, out += Block::kValues) decode_block<Block>(row, out);
}

template <typename Block>
void decode_tile_row(const std::byte* tile, int r, int n, float* out) {
  std::byte block[Block::kBytes];
  for (; n > 0; n -= Block::kValues, tile += tile_block_bytes<Block>(), out += Block::kValues) {
    gather_block<Block>(tile, r, block);
    decode_block<Block>(block, out);
  }
}

template <typename Block, float (*widen)(const std::byte*)>
void decode_float_row(const std::byte* row, int n, float* out) {
  for (int k = 0; k < n; ++k, row += Block::kBytes) out[k] = widen(row);
}

template <typename Block, float (*widen)(const std::byte*)>
void decode_float_tile_row(const std::byte* tile, int r, int n, float* out) {
  tile += r * Block::kBytes;
  for (int k = 0; k < n; ++k, tile += kTileRows * Block::kBytes) out[k] = widen(tile);
}

using Encode = void (*)(const float* in, int n, std::byte* row);

template <typename Block, typename T, float (*widen)(const std::byte*)>
constexpr Format float_format(DType type, const char* name, uint32_t ggml_type, Encode encode) {
  return {.type = type,
          .name = name,
          .ggml_type = ggml_type,
          .block_values = Block::kValues,
          .block_bytes = Block::kBytes,
          .tile_block_bytes = kTileRows * Block::kBytes,
          .quantized = false,
          .decode_row = decode_float_row<Block, widen>,
          .encode_row = encode,
          .pack_tile = pack_float_tile<T>,
          .decode_tile_row = decode_float_tile_row<Block, widen>,
          .dot = DotKind::none,
          .gather_block = gather_block<Block>,
          .unpack = nullptr};
}

template <typename Block>
constexpr Format block_format(DType type, const char* name, uint32_t ggml_type, DotKind dot, Encode encode = nullptr) {
  static_assert(Block::kBytes <= kMaxBlockBytes && Block::kValues % kBlock == 0);
  return {.type = type,
          .name = name,
          .ggml_type = ggml_type,
          .block_values = Block::kValues,
          .block_bytes = Block::kBytes,
          .tile_block_bytes = tile_block_bytes<Block>(),
          .quantized = true,
          .decode_row = decode_row<Block>,
          .encode_row = encode,
          .pack_tile = pack_tile<Block>,
          .decode_tile_row = decode_tile_row<Block>,
          .dot = dot,
          .gather_block = gather_block<Block>,
          .unpack = Block::unpack};
}

// In the order of DType.
constexpr Format kFormats[kDTypeCount] = {
    float_format<BlockF32, uint32_t, widen_f32>(DType::f32, "F32", 0, encode_f32),
    float_format<BlockHalf, uint16_t, widen_f16>(DType::f16, "F16", 1, encode_f16),
    float_format<BlockHalf, uint16_t, widen_bf16>(DType::bf16, "BF16", 30, encode_bf16),
    block_format<BlockQ8_0>(DType::q8_0, "Q8_0", 8, DotKind::scale, encode_q8_0),
    block_format<BlockQ4_0>(DType::q4_0, "Q4_0", 2, DotKind::scale, encode_q4_0),
    block_format<BlockQ4_1>(DType::q4_1, "Q4_1", 3, DotKind::scale_min, encode_q4_1),
    block_format<BlockQ5_0>(DType::q5_0, "Q5_0", 6, DotKind::scale, encode_q5_0),
    block_format<BlockQ5_1>(DType::q5_1, "Q5_1", 7, DotKind::scale_min, encode_q5_1),
    block_format<BlockQ2K>(DType::q2_k, "Q2_K", 10, DotKind::two_scales_mins),
    block_format<BlockQ3K>(DType::q3_k, "Q3_K", 11, DotKind::two_scales),
    block_format<BlockQ4K>(DType::q4_k, "Q4_K", 12, DotKind::scale_min),
    block_format<BlockQ5K>(DType::q5_k, "Q5_K", 13, DotKind::scale_min),
    block_format<BlockQ6K>(DType::q6_k, "Q6_K", 14, DotKind::two_scales),
    block_format<BlockIq4Nl>(DType::iq4_nl, "IQ4_NL", 20, DotKind::scale),
    block_format<BlockIq4Xs>(DType::iq4_xs, "IQ4_XS", 23, DotKind::scale),
};

}  // namespace

const Format& format(DType type) noexcept { return kFormats[static_cast<int>(type)]; }

const Format* format_of_ggml(uint32_t ggml_type) noexcept {
  for (const Format& f : kFormats) {
    if (f.ggml_type == ggml_type) return &f;
  }
  return nullptr;
}

const Format* format_of_tile_type(uint32_t number) noexcept {
  if (number < kFirstTileType || number - kFirstTileType >= kDTypeCount) return nullptr;
  return &kFormats[number - kFirstTileType];
}

}  // namespace decant::quant
