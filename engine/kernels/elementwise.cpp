// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/elementwise.h"

namespace decant::kernels {

const Elementwise& elementwise(Isa) noexcept {
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::kElementwise : reference::kElementwise;
}

}  // namespace decant::kernels
