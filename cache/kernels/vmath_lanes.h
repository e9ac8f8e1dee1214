// SPDX-License-Identifier: Apache-2.0
#pragma once

// The sequences of vmath_ref.h for 16 lanes; L is Lanes of lanes_avx2.h or lanes_avx512.h. Internal linkage: see there.

#include "cache/kernels/vmath_constants.h"

namespace decant::kernels {
namespace {

/// exp before its special cases; x_for_n is x, as far as its exponent counts.
template <typename L>
[[gnu::always_inline]] inline typename L::V exp_body(typename L::V x, typename L::V x_for_n) {
  using namespace vmath;
  using V = typename L::V;
  const V round = L::set1(kRound);
  const V rounded = L::fma(x_for_n, L::set1(kLog2E), round);
  const V n = L::sub(rounded, round);
  V r = L::fma(n, L::set1(-kLn2High), x);
  r = L::fma(n, L::set1(-kLn2Low), r);
  V p = L::set1(kExpTerms[4]);
  p = L::fma(p, r, L::set1(kExpTerms[3]));
  p = L::fma(p, r, L::set1(kExpTerms[2]));
  p = L::fma(p, r, L::set1(kExpTerms[1]));
  p = L::fma(p, r, L::set1(kExpTerms[0]));
  const V y = L::add(L::set1(1.0F), L::fma(L::mul(r, r), p, r));
  return L::add_exponent(y, rounded);
}

template <typename L>
inline typename L::V exp_lanes(typename L::V x) {
  using namespace vmath;
  using V = typename L::V;
  V y = exp_body<L>(x, x);
  y = L::select(L::less(x, L::set1(kExpLow)), L::zero(), y);
  y = L::select(L::less(L::set1(kExpHigh), x), L::set1(__builtin_inff()), y);
  return L::select(L::is_nan(x), x, y);
}

/// The same for x ≤ 0 and quiet NaNs, with one comparison instead of three: they cost as much as products. min() gives
/// its second operand for a NaN, whose exponent then stays as it is.
template <typename L>
[[gnu::always_inline]] inline typename L::V exp_lanes_to_one(typename L::V x) {
  const typename L::V y = exp_body<L>(x, L::min(x, L::zero()));
  return L::select(L::less(x, L::set1(vmath::kExpLow)), L::zero(), y);
}

template <typename L>
inline typename L::V tanh_lanes(typename L::V x) {
  using namespace vmath;
  using V = typename L::V;
  const V a = L::abs(x);
  const V z = L::mul(a, a);
  V p = L::set1(kTanhTerms[5]);
  p = L::fma(p, z, L::set1(kTanhTerms[4]));
  p = L::fma(p, z, L::set1(kTanhTerms[3]));
  p = L::fma(p, z, L::set1(kTanhTerms[2]));
  p = L::fma(p, z, L::set1(kTanhTerms[1]));
  p = L::fma(p, z, L::set1(kTanhTerms[0]));
  const V small = L::fma(L::mul(a, z), p, a);
  const V one = L::set1(1.0F);
  const V large = L::sub(one, L::div(L::set1(2.0F), L::add(exp_lanes<L>(L::add(a, a)), one)));
  return L::or_sign(L::select(L::less(a, L::set1(kTanhSmall)), small, large), x);
}

}  // namespace
}  // namespace decant::kernels
