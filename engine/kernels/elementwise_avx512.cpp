// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/lanes_avx512.h"
#include "engine/kernels/elementwise_lanes.h"

namespace decant::kernels {

constinit const Elementwise kElementwiseAvx512 = elementwise_table<LanesAvx512>();

}  // namespace decant::kernels
