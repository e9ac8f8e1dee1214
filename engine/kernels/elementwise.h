// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decant/isa.h"

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// The part of a KernelTable that works on rows of floats; see there.
struct Elementwise {
  decltype(KernelTable::rms_norm) rms_norm;
  decltype(KernelTable::layer_norm) layer_norm;
  decltype(KernelTable::add) add;
  decltype(KernelTable::silu_mul) silu_mul;
  decltype(KernelTable::gelu_tanh) gelu_tanh;
  decltype(KernelTable::all_finite) all_finite;
};

namespace reference {
extern const Elementwise kElementwise;
}
namespace reference_fma {
extern const Elementwise kElementwise;  ///< the same source, compiled with -mfma
}
extern const Elementwise kElementwiseAvx2;
extern const Elementwise kElementwiseAvx512;

/// Those of an ISA. Calling one that the CPU lacks is undefined (see resolve_isa).
const Elementwise& elementwise(Isa isa) noexcept;

}  // namespace decant::kernels
