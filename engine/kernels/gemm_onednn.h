// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// Whether a product is one that Numerics::fast gives to oneDNN: float weights, rows enough to be bound by arithmetic.
bool suits_onednn(const MatmulArgs& args, DType type) noexcept;

/// The same product by oneDNN's sgemm on one thread: the caller's, so that no OpenMP team ever forms. In another order
/// of operations: not exact. False if oneDNN or the allocator refuses; y is then to be overwritten.
bool gemm_onednn(const MatmulArgs& args, DType type) noexcept;

}  // namespace decant::kernels
