// SPDX-License-Identifier: Apache-2.0
#include "engine/thread_pool.h"

#include <vector>

#include <doctest/doctest.h>
#include <xmmintrin.h>

namespace decant::test {

TEST_CASE("thread_pool: every piece runs exactly once, whatever the number of threads and pieces") {
  for (const int n_threads : {1, 2, 3, 7}) {
    Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(n_threads);
    REQUIRE(pool.ok());
    CHECK((*pool)->n_threads() == n_threads);
    for (int round = 0; round < 400; ++round) {
      const int n_pieces = round % 41;
      std::vector<std::atomic<int>> runs(static_cast<size_t>(n_pieces) + 1);
      std::atomic<bool> bad_thread{false};
      (*pool)->for_each(n_pieces, [&](int piece, int thread) {
        runs[static_cast<size_t>(piece)].fetch_add(1, std::memory_order_relaxed);
        if (thread < 0 || thread >= n_threads) bad_thread = true;
      });
      bool once = !bad_thread;
      for (int i = 0; i < n_pieces; ++i) once = once && runs[static_cast<size_t>(i)] == 1;
      REQUIRE(once);
      REQUIRE(runs[static_cast<size_t>(n_pieces)] == 0);
    }
  }
}

TEST_CASE("thread_pool: what pieces wrote is seen by the caller and by the next job") {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(3);
  REQUIRE(pool.ok());
  std::vector<int64_t> values(64, 1);
  for (int round = 0; round < 200; ++round)
    (*pool)->for_each(
        64, [&](int i, int) { values[static_cast<size_t>(63 - i)] += values[static_cast<size_t>(63 - i)] % 7 + 1; });
  for (const int64_t value : values) CHECK(value == values[0]);
}

TEST_CASE("thread_pool: pieces run with the default floating-point state, the caller keeps its own") {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(2);
  REQUIRE(pool.ok());
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x9F80U | 0x6000U);
  std::atomic<int> wrong{0};
  for (int round = 0; round < 20; ++round)
    (*pool)->for_each(9, [&](int, int) {
      if ((_mm_getcsr() & ~0x3FU) != 0x1F80U) wrong.fetch_add(1);
    });
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK((after & ~0x3FU) == (0x9F80U | 0x6000U));
  CHECK(wrong == 0);
}

TEST_CASE("thread_pool: the default number of threads is at least one") { CHECK(default_thread_count() >= 1); }

}  // namespace decant::test
