// SPDX-License-Identifier: Apache-2.0
#include "engine/lap_log.h"

#include <atomic>

#include <doctest/doctest.h>

#include "engine/thread_pool.h"

namespace decant::test {

TEST_CASE("lap_log: forgets the oldest laps, and never takes one job for another") {
  LapLog log(2, 4);
  REQUIRE(log.n_slots() == 4);
  for (uint32_t job = 1; job <= 6; ++job) log.note(1, job, {job * 10, job * 10 + 5, static_cast<int>(job)});
  CHECK(!log.find(1, 2));
  for (uint32_t job = 3; job <= 6; ++job) {
    REQUIRE(log.find(1, job));
    CHECK(log.find(1, job)->begin == job * 10);
    CHECK(log.find(1, job)->n_pieces == static_cast<int>(job));
    CHECK(!log.find(0, job));
  }
}

TEST_CASE("thread_pool: the laps of a job are all its pieces, but for threads that are late to note theirs") {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(4);
  REQUIRE(pool);
  (*pool)->log_laps(64);
  std::atomic<int> sum{0};
  uint32_t own_before = 0;
  for (int round = 0; round < 2000; ++round) {
    (*pool)->for_each(16, [&](int piece, int) { sum += piece; });
    const uint32_t own = (*pool)->laps()->own().n_pieces;
    int noted = static_cast<int>(own - own_before);
    own_before = own;
    for (int thread = 1; thread < 4; ++thread)
      if (const auto lap = (*pool)->laps()->find(thread, (*pool)->last_job())) {
        noted += lap->n_pieces;
        REQUIRE(lap->end >= lap->begin);
      }
    REQUIRE(noted <= 16);
  }
  CHECK(sum == 2000 * 120);
  const uint64_t waited = (*pool)->laps()->own().waited;
  (*pool)->for_each(1, [&](int, int) {});
  CHECK((*pool)->laps()->own().waited == waited);
}

}  // namespace decant::test
