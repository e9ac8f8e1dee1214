// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/lanes_avx2.h"
#include "cache/kernels/rope.h"
#include "cache/kernels/rope_lanes.h"

namespace decant::kernels {

void rope_avx2(float* x, const float* cos, const float* sin, int half) { rope_lanes<LanesAvx2>(x, cos, sin, half); }

}  // namespace decant::kernels
