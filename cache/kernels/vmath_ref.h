// SPDX-License-Identifier: Apache-2.0
#pragma once

// exp and tanh in binary32 as fixed sequences of operations: this file is their definition. vmath_lanes.h writes the
// same sequences for vectors; the bits are equal for every one of the 2^32 inputs. Everything has internal linkage, so
// that a copy compiled with FMA or AVX never serves a file that was compiled without.

#include <cstdint>

#include "cache/kernels/vmath_constants.h"

namespace decant::kernels {
namespace {

inline float vmath_from_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline uint32_t vmath_bits(float x) { return __builtin_bit_cast(uint32_t, x); }

/// e^x: +0 below −87.3, +inf above 88.7228317, NaN stays NaN. Within 1 ulp elsewhere.
///
/// x = n·ln2 + r with n = rint(x·log2 e), r by Cody-Waite in two steps; e^r = 1 + (r + r²·P(r)); n is added to the
/// exponent.
inline float exp_f32(float x) {
  using namespace vmath;
  if (!(x >= kExpLow)) return x != x ? x : 0.0F;
  if (x > kExpHigh) return __builtin_inff();
  const float rounded = __builtin_fmaf(x, kLog2E, kRound);
  const float n = rounded - kRound;
  float r = __builtin_fmaf(n, -kLn2High, x);
  r = __builtin_fmaf(n, -kLn2Low, r);
  float p = kExpTerms[4];
  p = __builtin_fmaf(p, r, kExpTerms[3]);
  p = __builtin_fmaf(p, r, kExpTerms[2]);
  p = __builtin_fmaf(p, r, kExpTerms[1]);
  p = __builtin_fmaf(p, r, kExpTerms[0]);
  const float y = 1.0F + __builtin_fmaf(r * r, p, r);
  return vmath_from_bits(vmath_bits(y) +
                         (vmath_bits(rounded) << 23));  // the result is a normal number: no carry is lost
}

/// tanh x, odd to the bit, within 2 ulp. With a = |x|: a + a³·P(a²) below 0.625, else 1 − 2 ÷ (exp(2a) + 1).
inline float tanh_f32(float x) {
  using namespace vmath;
  const float a = vmath_from_bits(vmath_bits(x) & 0x7FFFFFFFU);
  float y;
  if (a < kTanhSmall) {
    const float z = a * a;
    float p = kTanhTerms[5];
    p = __builtin_fmaf(p, z, kTanhTerms[4]);
    p = __builtin_fmaf(p, z, kTanhTerms[3]);
    p = __builtin_fmaf(p, z, kTanhTerms[2]);
    p = __builtin_fmaf(p, z, kTanhTerms[1]);
    p = __builtin_fmaf(p, z, kTanhTerms[0]);
    y = __builtin_fmaf(a * z, p, a);
  } else {
    y = 1.0F - 2.0F / (exp_f32(a + a) + 1.0F);
  }
  return vmath_from_bits(vmath_bits(y) | (vmath_bits(x) & 0x80000000U));
}

}  // namespace
}  // namespace decant::kernels
