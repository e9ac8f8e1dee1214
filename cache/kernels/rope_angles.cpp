// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/rope.h"
#include "cache/kernels/vmath64.h"

namespace decant::kernels {

void rope_angles(const double* inv_freq, int n, int64_t pos, float* cos, float* sin) {
  for (int i = 0; i < n; ++i) {
    const double angle = static_cast<double>(pos) * inv_freq[i];
    cos[i] = static_cast<float>(cos64(angle));
    sin[i] = static_cast<float>(sin64(angle));
  }
}

void rope_frequencies(double base, int dim, double* inv_freq) {
  const double log_base = log64(base);
  for (int i = 0; i < dim / 2; ++i) inv_freq[i] = exp64(-(2.0 * i / dim) * log_base);
}

}  // namespace decant::kernels
