// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xmmintrin.h>

namespace decant::detail {

/// Sets MXCSR to its default (round to nearest even, no flush-to-zero, exceptions masked) and restores the caller's
/// when it goes out of scope. A host linked with -ffast-math runs with flush-to-zero; our results must not depend on
/// that.
class FpState {
 public:
  FpState() noexcept : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~FpState() { _mm_setcsr(saved_); }
  FpState(const FpState&) = delete;
  FpState& operator=(const FpState&) = delete;

 private:
  unsigned saved_;
};

}  // namespace decant::detail
