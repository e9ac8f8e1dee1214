// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decant/isa.h"

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// The product of an ISA and a weight format, to the contract of MatmulArgs. Never null: where an ISA has none of its
/// own it is that of a lesser ISA, which has the same bits.
MatmulFn matmul_kernel(Isa isa, DType type) noexcept;

/// KernelTable::quantize_row of an ISA.
using QuantizeRowFn = bool (*)(const float* x, int n, int8_t* q, float* d, int16_t* sums);
QuantizeRowFn quantize_row_kernel(Isa isa) noexcept;

}  // namespace decant::kernels
