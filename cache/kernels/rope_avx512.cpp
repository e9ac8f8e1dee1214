// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/lanes_avx512.h"
#include "cache/kernels/rope.h"
#include "cache/kernels/rope_lanes.h"

namespace decant::kernels {

void rope_avx512(float* x, const float* cos, const float* sin, int half) { rope_lanes<LanesAvx512>(x, cos, sin, half); }

}  // namespace decant::kernels
