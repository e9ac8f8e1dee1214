// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/rope.h"

namespace decant::kernels {

RopeFn rope_kernel(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
    case Isa::avxvnni:
      return rope_avx2;
    case Isa::avx512:
    case Isa::avx512vnni:
      return rope_avx512;
    case Isa::reference:
      break;
  }
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::rope : reference::rope;
}

}  // namespace decant::kernels
