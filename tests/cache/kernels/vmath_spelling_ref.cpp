// SPDX-License-Identifier: Apache-2.0

// Compiled twice, as attention_ref.cpp is.

#include "cache/kernels/vmath_ref.h"
#include "tests/cache/kernels/vmath_spellings.h"

#ifndef DECANT_VMATH_SPELLING
#define DECANT_VMATH_SPELLING kVmathReference
#endif

namespace decant::test {
namespace {

template <typename F>
void each(const float* x, int n, float* y, F f) {
  for (int i = 0; i < n; ++i) y[i] = f(x[i]);
}

void exp_all(const float* x, int n, float* y) { each(x, n, y, kernels::exp_f32); }
void tanh_all(const float* x, int n, float* y) { each(x, n, y, kernels::tanh_f32); }

}  // namespace

constinit const VmathSpelling DECANT_VMATH_SPELLING = {exp_all, exp_all, tanh_all};

}  // namespace decant::test
