// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// Whether a product is one that Numerics::fast gives to oneDNN: tokens enough to be bound by arithmetic, and F32
/// weights, or BF16 weights on a CPU with instructions for them.
bool suits_onednn(int n_tokens, DType type) noexcept;

/// The same product by oneDNN on one thread: the caller's, so that no OpenMP team ever forms. In another order of
/// operations, and over BF16 weights with activations rounded to bfloat16: not exact. False if oneDNN or the allocator
/// refuses; y is then to be overwritten.
bool gemm_onednn(const MatmulArgs& args, DType type) noexcept;

}  // namespace decant::kernels
