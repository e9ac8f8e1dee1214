// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/attention_lanes.h"
#include "cache/kernels/lanes_avx512.h"

namespace decant::kernels {

constinit const AttentionKernels kAttentionAvx512 = attention_table<LanesAvx512>("avx512");

}  // namespace decant::kernels
