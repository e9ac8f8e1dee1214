// SPDX-License-Identifier: Apache-2.0

// The definition of every product: ARCHITECTURE.md, "Products", written plainly. Compiled twice, for any x86-64 and
// with -mfma so that no fma is a call; DECANT_MATMUL_TABLE names the table. Nothing inline from a shared header is
// called here: the linker may keep the copy that was compiled with the wider instructions.

#include <cstddef>
#include <cstdint>

#include "engine/kernels/matmul/matmul_tables.h"
#include "engine/quant/format.h"

namespace decant::kernels {
namespace {

using quant::DotKind;
using quant::Format;
using quant::kBlock;
using quant::kTileRows;
using quant::SubBlock;

constexpr int kTokens = 16;  // share a row's unpacked weights

float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// acc = fma(w[k], x[k], acc), k ascending.
void float_row(const Format& f, const MatmulArgs& a, const std::byte* tile, int r, int first, int n, float* acc) {
  float w[kBlock];
  for (int k = 0; k < a.cols; k += kBlock) {
    const int width = a.cols - k < kBlock ? a.cols - k : kBlock;
    f.decode_tile_row(tile + static_cast<size_t>(k) * static_cast<size_t>(f.tile_block_bytes), r, width, w);
    for (int t = 0; t < n; ++t) {
      const float* const x = a.x + (first + t) * a.x_stride + k;
      for (int i = 0; i < width; ++i) acc[t] = fma(w[i], x[i], acc[t]);
    }
  }
}

int dot16(const int8_t* w, const int8_t* q) {
  int sum = 0;
  for (int i = 0; i < 16; ++i) sum += w[i] * q[i];
  return sum;
}

/// A block's dot with the integers of 32 activations, whose sums of 16 are s0 and s1, in units of their scale.
float block_dot(DotKind kind, const SubBlock& b, const int8_t* q, int s0, int s1) {
  const int i0 = dot16(b.w, q);
  const int i1 = dot16(b.w + 16, q + 16);
  if (kind == DotKind::scale || kind == DotKind::scale_min) {
    float t = static_cast<float>(i0 + i1) * b.scale[0];
    if (kind == DotKind::scale_min) t = fma(static_cast<float>(s0 + s1), -b.min[0], t);
    return t;
  }
  float t = static_cast<float>(i0) * b.scale[0];
  t = fma(static_cast<float>(i1), b.scale[1], t);
  if (kind == DotKind::two_scales_mins) {
    t = fma(static_cast<float>(s0), -b.min[0], t);
    t = fma(static_cast<float>(s1), -b.min[1], t);
  }
  return t;
}

/// acc = fma(t, d[b], acc) for blocks of 32, ascending.
void quantized_row(const Format& f, const MatmulArgs& a, const std::byte* tile, int r, int first, int n, float* acc) {
  std::byte block[quant::kMaxBlockBytes];
  SubBlock sub;
  for (int k = 0; k < a.cols; k += f.block_values, tile += f.tile_block_bytes) {
    f.gather_block(tile, r, block);
    for (int i = 0; i < f.block_values / kBlock; ++i) {
      f.unpack(block, i, &sub);
      const int b = k / kBlock + i;
      for (int t = 0; t < n; ++t) {
        const int16_t* const s = a.sums + (first + t) * a.sums_stride + ptrdiff_t{2} * b;
        const float dot = block_dot(f.dot, sub, a.q + (first + t) * a.q_stride + ptrdiff_t{kBlock} * b, s[0], s[1]);
        acc[t] = fma(dot, a.d[(first + t) * a.d_stride + b], acc[t]);
      }
    }
  }
}

template <DType type>
void matmul(const MatmulArgs& a) {
  const Format& f = quant::format(type);
  for (int tile = 0; tile < a.n_tiles; ++tile) {
    const std::byte* const bytes = a.tiles + static_cast<size_t>(tile) * a.tile_bytes;
    for (int first = 0; first < a.n_tokens; first += kTokens) {
      const int n = a.n_tokens - first < kTokens ? a.n_tokens - first : kTokens;
      for (int r = 0; r < kTileRows; ++r) {
        float acc[kTokens] = {};
        f.quantized ? quantized_row(f, a, bytes, r, first, n, acc) : float_row(f, a, bytes, r, first, n, acc);
        for (int t = 0; t < n; ++t) a.y[(first + t) * a.y_stride + ptrdiff_t{kTileRows} * tile + r] = acc[t];
      }
    }
  }
}

bool quantize_row(const float* x, int n, int8_t* q, float* d, int16_t* sums) {
  for (int k = 0; k < n; k += kBlock, x += kBlock, q += kBlock, ++d, sums += 2) {
    float amax = 0.0F;
    for (int i = 0; i < kBlock; ++i) {
      const float magnitude = __builtin_fabsf(x[i]);
      if (!(magnitude <= __FLT_MAX__)) return false;
      if (magnitude > amax) amax = magnitude;
    }
    const bool zeros = amax < kLeastAmax;
    const float id = zeros ? 0.0F : 127.0F / amax;
    *d = zeros ? 0.0F : amax / 127.0F;
    for (int half = 0; half < 2; ++half) {
      int sum = 0;
      for (int i = 16 * half; i < 16 * half + 16; ++i) {
        q[i] = static_cast<int8_t>(__builtin_lrintf(x[i] * id));
        sum += q[i];
      }
      sums[half] = static_cast<int16_t>(sum);
    }
  }
  return true;
}

}  // namespace

const MatmulTable DECANT_MATMUL_TABLE = {
    {matmul<DType::f32>, matmul<DType::f16>, matmul<DType::bf16>, matmul<DType::q8_0>, matmul<DType::q4_0>,
     matmul<DType::q4_1>, matmul<DType::q5_0>, matmul<DType::q5_1>, matmul<DType::q2_k>, matmul<DType::q3_k>,
     matmul<DType::q4_k>, matmul<DType::q5_k>, matmul<DType::q6_k>, matmul<DType::iq4_nl>, matmul<DType::iq4_xs>},
    quantize_row,
};

}  // namespace decant::kernels
