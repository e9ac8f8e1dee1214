// SPDX-License-Identifier: Apache-2.0

// The definition of a rotation. Compiled twice: as `reference` for any x86-64, and as `reference_fma` with -mfma.

#include "cache/kernels/rope.h"

#ifndef DECANT_REFERENCE
#define DECANT_REFERENCE reference
#endif

namespace decant::kernels::DECANT_REFERENCE {

void rope(float* x, const float* cos, const float* sin, int half) {
  for (int i = 0; i < half; ++i) {
    const float x0 = x[i];
    const float x1 = x[i + half];
    x[i] = __builtin_fmaf(x0, cos[i], -(x1 * sin[i]));
    x[i + half] = __builtin_fmaf(x1, cos[i], x0 * sin[i]);
  }
}

}  // namespace decant::kernels::DECANT_REFERENCE
