// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cache/kernels/attention_kernels.h"

namespace decant::kernels {

namespace reference {
extern const AttentionKernels kAttention;
}
namespace reference_fma {
extern const AttentionKernels kAttention;  ///< the same source, compiled with -mfma
}
extern const AttentionKernels kAttentionAvx2;
extern const AttentionKernels kAttentionAvx512;

}  // namespace decant::kernels
