// SPDX-License-Identifier: Apache-2.0
#pragma once

// The arithmetic of a forward pass but for attention, as one table of functions per ISA. Plain structs and pointers only:
// this header is read by files compiled with their own ISA flags.
//
// Every function is exact: each output element is the sequence of IEEE operations that ARCHITECTURE.md, "Numerics", writes
// down, and the reference table is its definition. No function allocates, throws, or reads anything but its arguments.
// All are safe to call from many threads on distinct outputs.

#include <cstddef>
#include <cstdint>

#include "decant/dtype.h"

namespace decant::kernels {

/// A product of packed weights with a few rows of activations.
///
///   y[t, 16·i + r] = Σ_k w[16·i + r, k] · x[t, k]     for tiles i and rows t
///
/// Float weights read `x`, quantized ones `q`, `d` and `sums`.
struct MatmulArgs {
  const std::byte* tiles = nullptr;  ///< the first tile; see quant::Format. 64-byte aligned
  size_t tile_bytes = 0;             ///< from a tile to the next
  int n_tiles = 0;
  int cols = 0;                      ///< k runs over [0, cols); a multiple of the format's block

  int n_tokens = 0;                  ///< rows of activations, ≥ 1
  const float* x = nullptr;          ///< [n_tokens, cols], rows x_stride floats apart
  ptrdiff_t x_stride = 0;
  const int8_t* q = nullptr;         ///< [n_tokens, cols], rows q_stride bytes apart; 64-byte aligned
  ptrdiff_t q_stride = 0;
  const float* d = nullptr;          ///< [n_tokens, cols / 32], rows d_stride floats apart: scale of a block
  ptrdiff_t d_stride = 0;
  const int16_t* sums = nullptr;     ///< [n_tokens, cols / 16], rows sums_stride apart: sum of q over each 16
  ptrdiff_t sums_stride = 0;

  float* y = nullptr;                ///< [n_tokens, 16 · n_tiles], rows y_stride floats apart; overwritten
  ptrdiff_t y_stride = 0;
};
using MatmulFn = void (*)(const MatmulArgs& args);

struct KernelTable {
  const char* name;
  MatmulFn matmul[kDTypeCount];

  /// One row of n activations (a multiple of 32) → q [n], d [n / 32], sums [n / 16]. False, with outputs undefined, if a
  /// NaN or an infinity is among them.
  bool (*quantize_row)(const float* x, int n, int8_t* q, float* d, int16_t* sums);

  /// y = x / sqrt(mean(x²) + eps) · w. Zhang & Sennrich 2019 (arXiv:1910.07467). y may be x.
  void (*rms_norm)(const float* x, const float* w, int n, float eps, float* y);
  /// y = (x − mean) / sqrt(var + eps) · w + b. Ba et al. 2016 (arXiv:1607.06450). b may be null. y may be x.
  void (*layer_norm)(const float* x, const float* w, const float* b, int n, float eps, float* y);
  /// x += y
  void (*add)(float* x, const float* y, int n);
  /// out = silu(gate) ⊙ up. Shazeer 2020 (arXiv:2002.05202). out may be gate or up.
  void (*silu_mul)(const float* gate, const float* up, int n, float* out);
  /// out = 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). Hendrycks & Gimpel 2016 (arXiv:1606.08415). out may be x.
  void (*gelu_tanh)(const float* x, int n, float* out);
  /// Rotates pairs (x[i], x[i + half]) of one head in place by the angles whose cosine and sine are given; [half] each.
  /// Su et al. 2021 (arXiv:2104.09864).
  void (*rope)(float* x, const float* cos, const float* sin, int half);
  /// Whether no element is a NaN or an infinity.
  bool (*all_finite)(const float* x, int n);
};

}  // namespace decant::kernels
