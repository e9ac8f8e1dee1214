// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/perf_counters.h"

#include <filesystem>
#include <iterator>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

namespace decant::profile {
namespace {

constexpr unsigned kWork = 2'000'000;

void work() {
  volatile unsigned sink = 0;
  for (unsigned i = 0; i < kWork; ++i) sink = sink + i;
}

auto open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return std::distance(begin(entries), end(entries));
}

}  // namespace

TEST_CASE("perf_counters: count work, of threads that start later too, or say why they can't") {
  const PerfCounters counters = PerfCounters::open();
  const CounterValues before = counters.read();
  if (!before.cycles || !before.instructions || !before.cache_misses || !before.tlb_misses)
    CHECK(!counters.note().empty());
  else
    CHECK(counters.note().empty());
  CHECK(counters.any() == (before.cycles || before.instructions || before.cache_misses || before.tlb_misses));
  CHECK(counters.note().find('\n') == std::string::npos);

  work();
  const CounterValues own = counters.read();
  std::thread(work).join();
  const CounterValues both = counters.read();
  CHECK(own.instructions.has_value() == before.instructions.has_value());
  if (before.instructions) {
    CHECK(*own.instructions - *before.instructions > kWork);
    CHECK(*both.instructions - *own.instructions > kWork);
  }
  if (before.cycles) CHECK(*own.cycles > *before.cycles);
}

TEST_CASE("perf_counters: moving hands the counters on, and nothing stays open") {
  open_descriptors();
  const auto before = open_descriptors();
  {
    PerfCounters first = PerfCounters::open();
    const bool any = first.any();
    PerfCounters second = std::move(first);
    CHECK(second.any() == any);
    PerfCounters third = PerfCounters::open();
    third = std::move(second);
    CHECK(third.any() == any);
  }
  CHECK(open_descriptors() == before);
}

}  // namespace decant::profile
