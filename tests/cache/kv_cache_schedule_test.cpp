// SPDX-License-Identifier: Apache-2.0

// Every operation of a cache in random order, over random shapes, types and bounds, against a plain model.

#include <doctest/doctest.h>

#include "tests/cache/schedule.h"

namespace decant::cache {
namespace {

constexpr int kSteps = 400;

test::ScheduleCounts run(uint32_t first_seed, int n_schedules) {
  MESSAGE("seeds ", first_seed, " to ", first_seed + static_cast<uint32_t>(n_schedules) - 1);
  test::ScheduleCounts counts;
  for (int i = 0; i < n_schedules; ++i) {
    const uint32_t seed = first_seed + static_cast<uint32_t>(i);
    CAPTURE(seed);
    test::Schedule schedule(seed);
    for (int step = 0; step < kSteps; ++step) {
      INFO(schedule.describe());
      schedule.step();
    }
    counts.add(schedule.finish());
  }
  return counts;
}

// The bounds were met, not only approached.
void check(const test::ScheduleCounts& counts) {
  MESSAGE(counts.n_steps, " steps: ", counts.n_full, " refused for room, ", counts.n_evicted, " blocks evicted, ",
          counts.n_hit_tokens, " tokens shared, ", counts.n_shifts, " shifts, ", counts.n_slides, " slides, ",
          counts.n_recompute, " cuts beyond a window, ", counts.n_files, " files");
  CHECK(counts.n_full * 50 > counts.n_steps);
  CHECK(counts.n_evicted * 50 > counts.n_steps);
  CHECK(counts.n_hit_tokens > counts.n_steps / 5);
  CHECK(counts.n_shifts * 100 > counts.n_steps);
  CHECK(counts.n_slides * 400 > counts.n_steps);
  CHECK(counts.n_recompute * 400 > counts.n_steps);
  CHECK(counts.n_files * 400 > counts.n_steps);
}

TEST_CASE("kv_cache: random operations of every kind break no invariant and give each sequence its own bits") {
  check(run(20250601, 50));
}

TEST_CASE("kv_cache: two hundred thousand random operations likewise" * doctest::skip()) {
  check(run(20260101, 200'000 / kSteps));
}

}  // namespace
}  // namespace decant::cache
