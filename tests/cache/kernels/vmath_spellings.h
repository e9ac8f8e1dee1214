// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace decant::test {

// The f32 functions of each spelling, over n values (a multiple of 16), each compiled with the flags of its ISA.
struct VmathSpelling {
  void (*exp)(const float* x, int n, float* y);
  void (*exp_to_one)(const float* x, int n, float* y);  // for x ≤ 0 and quiet NaNs only
  void (*tanh)(const float* x, int n, float* y);
};

extern const VmathSpelling kVmathReference;     // for any x86-64
extern const VmathSpelling kVmathReferenceFma;  // with -mfma
extern const VmathSpelling kVmathAvx2;
extern const VmathSpelling kVmathAvx512;

}  // namespace decant::test
