// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/hadamard.h"

namespace decant::kernels {
namespace {

constexpr int kMaxBlock = 1024;

/// 1/sqrt(block), rounded once: a power of two, or √½ times one.
float norm(int block) {
  float scale = 1.0F;
  for (; block >= 4; block /= 4) scale *= 0.5F;
  return block == 2 ? scale * 0x1.6a09e6p-1F : scale;
}

/// One distance, known to the compiler so that short ones become shuffles.
template <int kDistance>
void butterflies(float* x, int block) {
  for (int first = 0; first < block; first += 2 * kDistance)
    for (int i = first; i < first + kDistance; ++i) {
      const float a = x[i], b = x[i + kDistance];
      x[i] = a + b;
      x[i + kDistance] = a - b;
    }
}

void butterflies(float* x, int block, int distance) {
  for (int first = 0; first < block; first += 2 * distance) {
    float* const low = x + first;
    float* const high = low + distance;
    for (int i = 0; i < distance; ++i) {
      const float a = low[i], b = high[i];
      low[i] = a + b;
      high[i] = a - b;
    }
  }
}

}  // namespace

int hadamard_block(int dim) noexcept {
  int block = 1;
  while (block < kMaxBlock && dim % (2 * block) == 0) block *= 2;
  return block;
}

void hadamard(float* x, ptrdiff_t n, int block) noexcept {
  const float scale = norm(block);
  for (const float* const end = x + n; x < end; x += block) {
    if (block > 1) butterflies<1>(x, block);
    if (block > 2) butterflies<2>(x, block);
    for (int distance = 4; distance < block; distance *= 2) butterflies(x, block, distance);
    for (int i = 0; i < block; ++i) x[i] *= scale;
  }
}

}  // namespace decant::kernels
