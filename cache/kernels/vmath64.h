// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace decant::kernels {

// Elementary functions in binary64, for rotary tables, the sampler and log-sum-exp. Fixed sequences of + − × ÷ fma: the
// same bits on every CPU, within about 1 ulp of the true value. Default MXCSR (see detail::FpState) is the caller's
// business.

/// e^x. +0 below −745.2, +inf above 709.79; NaN stays NaN.
double exp64(double x) noexcept;

/// Natural logarithm. −inf at ±0, NaN below 0.
double log64(double x) noexcept;

/// Sine and cosine of x radians, |x| ≤ 2³¹; NaN beyond.
double sin64(double x) noexcept;
double cos64(double x) noexcept;

}  // namespace decant::kernels
