// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace decant::test {

/// Calls of operator new by any thread since the program started. A program that links counting_new.cpp counts.
int64_t n_allocations();

/// From now on the n-th allocation (0 the next) throws std::bad_alloc, once. Negative: none.
void fail_allocation(int64_t n);

}  // namespace decant::test
