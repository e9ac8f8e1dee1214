// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// Whether a product is one that Numerics::fast gives to oneDNN: tokens enough to be bound by arithmetic, and F32
/// weights, or BF16 weights on a CPU with instructions for them.
bool suits_onednn(int n_tokens, DType type) noexcept;

/// What gemm_onednn() needs for products of up to so many tokens, tiles and columns.
size_t onednn_scratch_bytes(int n_tokens, int n_tiles, int cols) noexcept;

/// The same product by oneDNN on one thread: the caller's, so that no OpenMP team ever forms. In another order of
/// operations, and over BF16 weights with activations rounded to bfloat16: not exact. scratch: 64-byte aligned, this
/// thread's. False if oneDNN refuses; y is then to be overwritten.
bool gemm_onednn(const MatmulArgs& args, DType type, std::byte* scratch) noexcept;

}  // namespace decant::kernels
