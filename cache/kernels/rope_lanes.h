// SPDX-License-Identifier: Apache-2.0
#pragma once

// The rotation of rope_ref.cpp for 16 lanes; L is Lanes of lanes_avx2.h or lanes_avx512.h. Internal linkage: see there.

namespace decant::kernels {
namespace {

template <typename L>
void rope_lanes(float* x, const float* cos, const float* sin, int half) {
  using V = typename L::V;
  const auto first = [](V x0, V x1, V c, V s) { return L::fma(x0, c, L::negate(L::mul(x1, s))); };
  const auto second = [](V x0, V x1, V c, V s) { return L::fma(x1, c, L::mul(x0, s)); };
  int i = 0;
  for (; i + 16 <= half; i += 16) {
    const V x0 = L::load(x + i), x1 = L::load(x + half + i), c = L::load(cos + i), s = L::load(sin + i);
    L::store(x + i, first(x0, x1, c, s));
    L::store(x + half + i, second(x0, x1, c, s));
  }
  const int n = half - i;
  if (n == 0) return;
  const V x0 = L::load_n(x + i, n), x1 = L::load_n(x + half + i, n);
  const V c = L::load_n(cos + i, n), s = L::load_n(sin + i, n);
  L::store_n(x + i, first(x0, x1, c, s), n);
  L::store_n(x + half + i, second(x0, x1, c, s), n);
}

}  // namespace
}  // namespace decant::kernels
