// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/attention_lanes.h"
#include "cache/kernels/lanes_avx2.h"

namespace decant::kernels {

constinit const AttentionKernels kAttentionAvx2 = attention_table<LanesAvx2>("avx2");

}  // namespace decant::kernels
