// SPDX-License-Identifier: Apache-2.0
#include "engine/thread_pool.h"

#include <algorithm>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sched.h>
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

TEST_CASE("thread_pool: pinned threads run on a CPU of their own, and the caller where it did") {
  cpu_set_t before, after;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  const int n_cpus = CPU_COUNT(&before);
  Result<std::unique_ptr<ThreadPool>> too_many = ThreadPool::create(n_cpus + 1, /*pin=*/true);
  REQUIRE(!too_many.ok());
  CHECK(too_many.error().code == ErrorCode::invalid_argument);

  const int n_threads = std::min(n_cpus, 4);
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(n_threads, /*pin=*/true);
  REQUIRE(pool.ok());
  std::vector<cpu_set_t> masks(static_cast<size_t>(n_threads));
  std::vector<std::atomic<bool>> ran(static_cast<size_t>(n_threads));
  std::atomic<int> n_ran{0};
  // Each piece waits until every thread has one.
  (*pool)->for_each(n_threads, [&](int, int thread) {
    sched_getaffinity(0, sizeof(cpu_set_t), &masks[static_cast<size_t>(thread)]);
    ran[static_cast<size_t>(thread)] = true;
    ++n_ran;
    while (n_ran < n_threads) std::this_thread::yield();
  });
  for (int i = 1; i < n_threads; ++i) {
    REQUIRE(ran[static_cast<size_t>(i)]);
    CHECK(CPU_COUNT(&masks[static_cast<size_t>(i)]) == 1);
    for (int j = 1; j < i; ++j) CHECK(!CPU_EQUAL(&masks[static_cast<size_t>(i)], &masks[static_cast<size_t>(j)]));
  }
  REQUIRE(sched_getaffinity(0, sizeof(after), &after) == 0);
  CHECK(CPU_EQUAL(&before, &after));
}

}  // namespace decant::test
