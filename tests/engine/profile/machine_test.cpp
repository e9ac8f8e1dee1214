// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/machine.h"

#include <doctest/doctest.h>

#include "engine/profile/read_bandwidth.h"
#include "engine/thread_pool.h"

namespace decant::profile {
namespace {

TEST_CASE("machine: says what it is made of") {
  const Machine machine = describe_machine();
  CHECK(machine.n_cpus >= 1);
  CHECK(machine.n_threads == default_thread_count());
  REQUIRE(!machine.isas.empty());
  CHECK(machine.isas.front() == Isa::reference);
  CHECK(machine.memory_bytes > 0);
  CHECK(machine.available_bytes <= machine.memory_bytes);
  for (const CpuCache& cache : machine.caches) {
    CHECK(cache.level >= 1);
    CHECK(cache.size_bytes > 0);
  }
}

TEST_CASE("read_ways: each reads every line of a range, whatever instructions it has") {
  std::vector<const ReadWay*> all;
  constexpr size_t kBytes = 4096;
  alignas(64) static std::byte lines[kBytes];
  const auto check = [&](std::span<const ReadWay> ways) {
    for (const ReadWay way : ways) {
      std::fill(std::begin(lines), std::end(lines), std::byte{0});
      CHECK(way(lines, kBytes) == 0);
      for (size_t line = 0; line < kBytes; line += 64) {  // the first word of a line belongs to every way
        std::fill(std::begin(lines), std::end(lines), std::byte{0});
        lines[line] = std::byte{5};
        CHECK(way(lines, kBytes) == 5);
      }
    }
  };
  check(read_ways_plain());
  for (const Isa isa : available_isas()) {
    if (isa == Isa::avx2) check(read_ways_avx2());
    if (isa == Isa::avx512) check(read_ways_avx512());
  }
}

TEST_CASE("read_bandwidth: is what a machine can have, with any number of threads") {
  Result<ReadBandwidth> memory = ReadBandwidth::create();
  REQUIRE(memory);
  for (const int n : {1, 2}) {
    Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(n);
    REQUIRE(pool);
    const double bytes_per_s = memory->measure(**pool);
    CHECK(bytes_per_s > 1e7);
    CHECK(bytes_per_s < 1e14);
  }
}

TEST_CASE("quantile: is one of the values, the middle one for a half") {
  CHECK(quantile({}, 0.5) == 0.0);
  CHECK(quantile({3.0}, 0.99) == 3.0);
  CHECK(quantile({5.0, 1.0, 3.0}, 0.5) == 3.0);
  CHECK(quantile({1.0, 2.0, 3.0, 4.0}, 0.0) == 1.0);
  CHECK(quantile({1.0, 2.0, 3.0, 4.0}, 1.0) == 4.0);
}

}  // namespace
}  // namespace decant::profile
