// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/attention_tables.h"

namespace decant::kernels {

const AttentionKernels& attention_kernels(Isa) noexcept {
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::kAttention : reference::kAttention;
}

}  // namespace decant::kernels
