// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace decant::kernels {

/// Channels that one rotation mixes: the largest power of two that divides dim, 1024 at most.
int hadamard_block(int dim) noexcept;

/// Multiplies each run of `block` of the n floats (a multiple of it) by the orthonormal Hadamard matrix of that order,
/// in place. Its own inverse, up to rounding. One sequence for every ISA: butterflies of distance 1, 2, 4, … as
/// binary32 a + b and a − b, then one multiplication by 1/sqrt(block). Finite numbers may overflow to infinities.
void hadamard(float* x, ptrdiff_t n, int block) noexcept;

}  // namespace decant::kernels
