// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/lanes_avx2.h"
#include "engine/kernels/elementwise_lanes.h"

namespace decant::kernels {

constinit const Elementwise kElementwiseAvx2 = elementwise_table<LanesAvx2>();

}  // namespace decant::kernels
