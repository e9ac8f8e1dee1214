// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/elementwise.h"

namespace decant::kernels {

const Elementwise& elementwise(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
    case Isa::avxvnni:
      return kElementwiseAvx2;
    case Isa::avx512:
    case Isa::avx512vnni:
      return kElementwiseAvx512;
    case Isa::reference:
      break;
  }
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::kElementwise : reference::kElementwise;
}

}  // namespace decant::kernels
