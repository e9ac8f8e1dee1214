// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace decant::test {

/// While it lives, one allocation of the program fails: the n-th call of operator new, by any thread, counted from 0.
/// It throws std::bad_alloc; those after it succeed again, or with `all_after` fail, too. One at a time. Link failing_new.cpp into a program of its
/// own, since it replaces operator new:
///
///   for (int64_t n = 0;; ++n) {
///     const FailingNew failing(n);
///     const bool worked = try_it();
///     if (!failing.failed()) break;  // fewer than n allocations: each has failed once
///     CHECK(!worked);
///   }
class FailingNew {
 public:
  explicit FailingNew(int64_t n, bool all_after = false) noexcept;
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
  ~FailingNew();

  /// Whether the allocation has come, and failed.
  bool failed() const noexcept;
};

/// Calls of operator new by any thread since the program started.
int64_t n_allocations() noexcept;

/// Allocations that have not been freed, and their bytes as asked for: equal before and after means nothing leaked.
int64_t n_live_allocations() noexcept;
int64_t live_bytes() noexcept;

}  // namespace decant::test
