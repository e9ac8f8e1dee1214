// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/lanes_avx512.h"
#include "cache/kernels/vmath_lanes.h"
#include "tests/cache/kernels/vmath_spellings.h"

namespace decant::test {
namespace {

using L = kernels::LanesAvx512;

void exp_all(const float* x, int n, float* y) {
  for (int i = 0; i < n; i += 16) L::store(y + i, kernels::exp_lanes<L>(L::load(x + i)));
}
void exp_to_one_all(const float* x, int n, float* y) {
  for (int i = 0; i < n; i += 16) L::store(y + i, kernels::exp_lanes_to_one<L>(L::load(x + i)));
}
void tanh_all(const float* x, int n, float* y) {
  for (int i = 0; i < n; i += 16) L::store(y + i, kernels::tanh_lanes<L>(L::load(x + i)));
}

}  // namespace

constinit const VmathSpelling kVmathAvx512 = {exp_all, exp_to_one_all, tanh_all};

}  // namespace decant::test
