// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <new>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

// This program's own operator new: counts, and refuses where a test says so.
namespace {
int64_t n_allocations = 0;
int64_t n_until_refusal = -1;  // negative: never
bool refused = false;

void* allocate(size_t bytes, size_t alignment) {
  ++n_allocations;
  if (n_until_refusal == 0) {
    refused = true;
    return nullptr;
  }
  if (n_until_refusal > 0) --n_until_refusal;
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment + (bytes == 0 ? alignment : 0));
}
}  // namespace

void* operator new(size_t bytes) {
  if (void* const data = allocate(bytes, alignof(std::max_align_t))) return data;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  if (void* const data = allocate(bytes, static_cast<size_t>(alignment))) return data;
  throw std::bad_alloc();
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, size_t, std::align_val_t) noexcept { std::free(data); }

namespace decant::cache {
namespace {

const std::vector<KvLayerShape> kLayers = {{2, 8, 8, 32}, {2, 8, 8, 0}};

TEST_CASE("kv_cache: reserving, writing, committing, rolling back and truncating allocate nothing but slabs") {
  auto cache = test::make_cache(kLayers, test::cache_options(KvType::f16, 16), 3, 4000);
  const std::vector<float> row(16, 1.0F);
  int64_t n_with_slab = 0, n_without = 0;
  for (int round = 0; round < 2; ++round) {
    const int64_t before_add = n_allocations;
    const std::vector<SequenceIndex> s = {*cache->add_sequence(), *cache->add_sequence()};
    CHECK(n_allocations == before_add + 1);  // the vector here
    for (int i = 0; i < 2000; ++i) {
      const KvGrowth growths[] = {{s[0], 2}, {s[1], i % 2}};
      const size_t reserved = cache->stats().reserved_bytes;
      const int64_t before = n_allocations;
      bool slab = false;
      {
        Result<KvReservation> slots = cache->reserve(growths);
        REQUIRE(slots.ok());
        slab = cache->stats().reserved_bytes > reserved;
        REQUIRE(cache->write(s[0], 0, cache->length(s[0]), row.data(), row.data()));
        if (i % 7 != 0) slots->commit();
      }
      // At this place in a block no window has just given one back.
      if (cache->length(s[0]) % 16 == 8) REQUIRE(cache->truncate(s[0], cache->length(s[0]) - 1).ok());
      (slab ? n_with_slab : n_without) += n_allocations - before;
    }
    const int64_t before_release = n_allocations;
    for (const SequenceIndex sequence : s) cache->release(sequence);
    CHECK(n_allocations == before_release);
  }
  CHECK(n_with_slab > 0);
  CHECK(n_without == 0);
}

TEST_CASE("kv_cache: each allocation of create() that fails is out_of_memory") {
  for (int64_t n = 0;; ++n) {
    refused = false;
    n_until_refusal = n;
    const auto made = KvCache::create(kLayers, test::cache_options(KvType::f16, 16), 3, 4000, Isa::reference);
    const bool all_done = !refused;
    n_until_refusal = -1;
    REQUIRE(made.ok() == all_done);
    if (all_done) {
      CHECK(n > 5);
      break;
    }
    REQUIRE(made.error().code == ErrorCode::out_of_memory);
  }
}

TEST_CASE("kv_cache: each allocation of reserve() that fails is an error, and nothing has changed") {
  auto cache = test::make_cache(kLayers, test::cache_options(KvType::f16, 16), 3, 4000);
  const SequenceIndex s = *cache->add_sequence();
  for (const KvGrowth growth : {KvGrowth{s, 100}, KvGrowth{s, 1 << 30}}) {
    for (int64_t n = 0;; ++n) {
      refused = false;
      n_until_refusal = n;
      const Result<KvReservation> slots = cache->reserve({&growth, 1});
      const bool all_done = !refused;
      n_until_refusal = -1;
      if (all_done) {
        CHECK(n > 0);
        CHECK(slots.ok() == (growth.n_tokens == 100));
        break;
      }
      REQUIRE(slots.error().code == ErrorCode::out_of_memory);
      REQUIRE(slots.error().message == "out of memory");
      REQUIRE(cache->stats().reserved_bytes == 0);
      REQUIRE(cache->view(s, 0, 0).len == 0);
      REQUIRE(cache->check_invariants() == "");
    }
  }
}

}  // namespace
}  // namespace decant::cache
