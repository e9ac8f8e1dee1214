// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rotary positions: Su et al. 2021 (arXiv:2104.09864). Each output is the sequence of operations that ARCHITECTURE.md,
// "Rows", writes down.

#include <cstdint>

#include "decant/isa.h"

namespace decant::kernels {

/// Rotates pairs (x[i], x[i + half]) of one head in place by the angles whose cosine and sine are given; [half] each.
using RopeFn = void (*)(float* x, const float* cos, const float* sin, int half);

/// That of an ISA. Calling one that the CPU lacks is undefined (see resolve_isa).
RopeFn rope_kernel(Isa isa) noexcept;

/// Cosine and sine of pos · inv_freq[i], computed in binary64 and rounded once. cos, sin: [n].
void rope_angles(const double* inv_freq, int n, int64_t pos, float* cos, float* sin);
/// base^(−2i / dim) for i in [0, dim / 2), in binary64 by decant's own exp and log.
void rope_frequencies(double base, int dim, double* inv_freq);

namespace reference {
void rope(float* x, const float* cos, const float* sin, int half);
}
namespace reference_fma {
void rope(float* x, const float* cos, const float* sin, int half);  ///< the same source, compiled with -mfma
}
void rope_avx2(float* x, const float* cos, const float* sin, int half);
void rope_avx512(float* x, const float* cos, const float* sin, int half);

}  // namespace decant::kernels
