// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include <x86intrin.h>

namespace decant {

/// The CPU's time stamp counter: a clock that costs some ten nanoseconds less than the system's, of unknown frequency.
/// All that decant runs on count evenly, and alike on every core, where the system itself uses it as a clock.
inline uint64_t ticks() noexcept { return __rdtsc(); }

/// The system's steady clock, in nanoseconds.
inline int64_t steady_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace decant
