// SPDX-License-Identifier: Apache-2.0

// What a cache takes and gives back, as the process and its allocator see it.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/cache/cache_model.h"
#include "tests/support/failing_new.h"

namespace decant::cache {
namespace {

/// Bytes of this process that are in memory.
double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = -1;
  statm >> size >> resident;
  REQUIRE_MESSAGE(resident > 0, "/proc/self/statm says how much memory the process has");
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

void grow(KvCache& cache, SequenceIndex s, int n) {
  const KvGrowth growth{s, n};
  Result<KvReservation> slots = cache.reserve({&growth, 1});
  REQUIRE_MESSAGE(slots.ok(), slots.error().message);
  slots->commit();
}

TEST_CASE("kv_cache: the process grows by what is reserved and shrinks by what is released, within two percent") {
  const std::vector<KvLayerShape> layers = {{4, 64, 64, 0}, {2, 64, 64, 256}};
  auto cache = test::make_cache(layers, test::cache_options(KvType::f32, 32), 8, 20000);
  const double before = resident_bytes();
  std::vector<SequenceIndex> sequences;
  for (int i = 0; i < 8; ++i) sequences.push_back(*cache->add_sequence());
  double largest = 0;
  while (cache->stats().reserved_bytes < size_t{300} << 20) {
    for (const SequenceIndex s : sequences) grow(*cache, s, 250);
    const auto reserved = static_cast<double>(cache->stats().reserved_bytes);
    if (reserved < 0x1p28) continue;
    largest = reserved;
    CHECK(std::fabs(resident_bytes() - before - reserved) < 0.02 * reserved);
  }
  REQUIRE(largest > 0);
  // Half of them: what is left in slabs counts, and nothing else.
  for (int i = 0; i < 8; i += 2) cache->release(sequences[static_cast<size_t>(i)]);
  CHECK(std::fabs(resident_bytes() - before - static_cast<double>(cache->stats().reserved_bytes)) < 0.02 * largest);
  for (int i = 1; i < 8; i += 2) cache->release(sequences[static_cast<size_t>(i)]);
  CHECK(cache->stats().reserved_bytes == 0);
  CHECK(std::fabs(resident_bytes() - before) < 0.02 * largest);
}

TEST_CASE("kv_cache: after 100,000 sequences nothing is taken that wasn't after the first hundred") {
  const std::vector<KvLayerShape> layers = {{1, 4, 4, 0}, {1, 8, 4, 20}};
  CacheOptions options = test::cache_options(KvType::f16, 16);
  options.limit_bytes = size_t{60} * 4096;
  options.prefix_bytes = size_t{16} * 4096;
  auto cache = test::make_cache(layers, options, 8, 128);
  std::vector<int32_t> ids(128);
  std::iota(ids.begin(), ids.end(), 0);
  int64_t live_bytes = 0, n_live = 0;
  std::vector<SequenceIndex> alive;
  for (int i = 1; i <= 100'000; ++i) {
    if (alive.size() == 4) {
      cache->release(alive[static_cast<size_t>(i % 4)]);
      alive.erase(alive.begin() + i % 4);
    }
    ids[static_cast<size_t>(i % 50)] = i % 25;
    const bool forks = i % 5 == 0 && !alive.empty();
    const SequenceIndex s = forks ? *cache->fork(alive.back()) : *cache->add_sequence();
    if (!forks) cache->adopt_prefix(s, i % 2 == 0 ? "even" : "odd", ids);
    if (const int n = i % 20 + 1; n <= 128 - cache->length(s)) grow(*cache, s, n);
    cache->publish_prefix(s, i % 2 == 0 ? "even" : "odd", ids, i % 3);
    alive.push_back(s);
    if (i != 100 && i != 100'000) continue;
    CHECK(cache->stats().prefixes.n_hits > 0);
    CHECK(cache->stats().prefixes.n_evicted_blocks > 0);
    CHECK(cache->check_invariants() == "");
    for (const SequenceIndex gone : alive) cache->release(gone);
    alive.clear();
    cache->forget_prefixes();
    CHECK(cache->stats().reserved_bytes == 0);
    if (i == 100) {
      live_bytes = test::live_bytes();
      n_live = test::n_live_allocations();
    }
  }
  CHECK(test::live_bytes() == live_bytes);
  CHECK(test::n_live_allocations() == n_live);
}

TEST_CASE("kv_cache: a token of a sequence of 131,072 asks the allocator for as much as the first") {
  constexpr int kTokens = 131'072;
  const std::vector<KvLayerShape> layers = {{1, 4, 4, 0}, {1, 4, 4, 1000}};
  auto cache = test::make_cache(layers, test::cache_options(KvType::f16, 64), 1, kTokens);
  const SequenceIndex s = *cache->add_sequence();
  const float row[4] = {1, 2, 3, 4};
  int64_t n_without_slab = 0, most_with_slab = 0, n_slabs = 0;
  size_t reserved = 0;
  bool written = true;
  for (int pos = 0; pos < kTokens; ++pos) {
    const int64_t before = test::n_allocations();
    {
      const KvGrowth growth{s, 1};
      Result<KvReservation> slots = cache->reserve({&growth, 1});
      REQUIRE(slots.ok());
      for (int l = 0; l < 2; ++l) written = cache->write(s, l, pos, row, row) && written;
      slots->commit();
    }
    const int64_t n = test::n_allocations() - before;
    if (pos % 64 != 0) {  // no new block
      n_without_slab += n;
      continue;
    }
    const size_t now = cache->stats().reserved_bytes;
    const bool slab = now != std::exchange(reserved, now);
    n_slabs += slab;
    if (slab)
      most_with_slab = std::max(most_with_slab, n);
    else
      n_without_slab += n;
  }
  CHECK(written);
  CHECK(cache->length(s) == kTokens);
  CHECK(n_slabs > 3);
  CHECK(n_without_slab == 0);
  CHECK(most_with_slab <= 2 * 2);  // a slab's list of blocks, and the list of slabs, of each group
}

}  // namespace
}  // namespace decant::cache
