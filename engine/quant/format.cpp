// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/format.h"

#include <cstring>

#include "decant/detail/half.h"

#include "engine/quant/blocks.h"
#include "engine/quant/encode.h"

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

template <int kUnit>
void interleave(const std::byte* const rows[kTileRows], int offset, std::byte* out) {
  for (int r = 0; r < kTileRows; ++r, out += kUnit) {
    if (rows[r] != nullptr) {
      std::memcpy(out, rows[r] + offset, kUnit);
    } else {
      std::memset(out, 0, kUnit);
    }
  }
}

template <typename Block>
void pack_tile(const std::byte* const rows[kTileRows], int n, std::byte* tile) {
  const std::byte* at[kTileRows];
  for (int r = 0; r < kTileRows; ++r) at[r] = rows[r];
  for (int b = 0; b < n / Block::kValues; ++b) {
    for (const Segment& s : Block::kSegments) {
      for (int u = 0; u < s.n_units; ++u) {
        const int offset = s.offset + u * s.unit_bytes;
        s.unit_bytes == 4 ? interleave<4>(at, offset, tile) : interleave<2>(at, offset, tile);
        tile += kTileRows * s.unit_bytes;
      }
    }
    for (const std::byte*& row : at) {
      if (row != nullptr) row += Block::kBytes;
    }
  }
}

template <typename Block>
void gather_block(const std::byte* tile_block, int r, std::byte* block) {
  for (const Segment& s : Block::kSegments) {
    for (int u = 0; u < s.n_units; ++u) {
      const std::byte* const from = tile_block + r * s.unit_bytes;
      std::byte* const to = block + s.offset + u * s.unit_bytes;
      s.unit_bytes == 4 ? std::memcpy(to, from, 4) : std::memcpy(to, from, 2);
      tile_block += kTileRows * s.unit_bytes;
    }
  }
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
  for (; n > 0; n -= Block::kValues, tile += kTileRows * Block::kBytes, out += Block::kValues) {
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

template <typename Block, float (*widen)(const std::byte*)>
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
          .pack_tile = pack_tile<Block>,
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
          .tile_block_bytes = kTileRows * Block::kBytes,
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
    float_format<BlockF32, widen_f32>(DType::f32, "F32", 0, encode_f32),
    float_format<BlockHalf, widen_f16>(DType::f16, "F16", 1, encode_f16),
    float_format<BlockHalf, widen_bf16>(DType::bf16, "BF16", 30, encode_bf16),
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

}  // namespace decant::quant
