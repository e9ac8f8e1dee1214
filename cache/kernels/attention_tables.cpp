// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/attention_tables.h"

namespace decant::kernels {

const AttentionKernels& attention_kernels(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
      return kAttentionAvx2;
    case Isa::avx512:
    case Isa::avx512vnni:
      return kAttentionAvx512;  // no product of attention is an integer one
    case Isa::reference:
      break;
  }
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::kAttention : reference::kAttention;
}

}  // namespace decant::kernels
