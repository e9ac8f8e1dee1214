// SPDX-License-Identifier: Apache-2.0
#include "cache/block_pool.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <doctest/doctest.h>

namespace decant::cache {
namespace {

constexpr int64_t kManyBlocks = 1 << 20;

TEST_CASE("block_pool: the first slab is a huge page of blocks, later ones grow with the pool up to 16 MiB") {
  SlabBudget budget;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  size_t reserved = 0, smallest = 0, largest = 0;
  for (int i = 0; i < 40000; ++i) {
    REQUIRE(pool.make_free(1, budget.left_bytes()));
    pool.take();
    if (budget.reserved_bytes == reserved) continue;
    largest = budget.reserved_bytes - reserved;
    if (smallest == 0) smallest = largest;
    reserved = budget.reserved_bytes;
  }
  CHECK(smallest == kHugePageBytes);
  CHECK(largest == 8 * kHugePageBytes);
  CHECK(pool.n_used() == 40000);
  CHECK(reserved == static_cast<size_t>(pool.n_used() + pool.n_free()) * kPageBytes);
}

TEST_CASE("block_pool: a block larger than a slab has a slab of its own") {
  SlabBudget budget;
  BlockPool pool(10 * kHugePageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(2, budget.left_bytes()));
  CHECK(pool.slabs().size() == 2);
  CHECK(budget.reserved_bytes == 20 * kHugePageBytes);
  pool.trim();
  CHECK(budget.reserved_bytes == 0);
}

TEST_CASE("block_pool: never takes more than max_blocks, the spare bytes, or a sixteenth of the limit at once") {
  SlabBudget budget;
  {
    BlockPool pool(kPageBytes, 3, &budget);
    REQUIRE(pool.make_free(1, budget.left_bytes()));
    CHECK(budget.reserved_bytes == 3 * kPageBytes);
  }
  CHECK(budget.reserved_bytes == 0);
  {
    BlockPool pool(kPageBytes, kManyBlocks, &budget);
    REQUIRE(pool.make_free(5, 2 * kPageBytes + 1));
    CHECK(budget.reserved_bytes == 7 * kPageBytes);
  }
  budget.limit_bytes = 64 * kPageBytes;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(1, budget.left_bytes()));
  CHECK(budget.reserved_bytes == 4 * kPageBytes);
}

TEST_CASE("block_pool: a block lives as long as one owner holds it, and an empty slab goes back at once") {
  SlabBudget budget;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(2, 0));
  const BlockId a = pool.take(), b = pool.take();
  CHECK(a != b);
  CHECK(pool.data(a) != pool.data(b));
  CHECK(pool.owners(a) == 1);
  CHECK(pool.n_free() == 0);
  pool.drop(a);
  CHECK(pool.n_free() == 1);
  CHECK(budget.reserved_bytes == 2 * kPageBytes);
  pool.drop(b);
  CHECK(pool.n_free() == 0);
  CHECK(pool.n_used() == 0);
  CHECK(budget.reserved_bytes == 0);
}

TEST_CASE("block_pool: releasing a shared block keeps it alive for the other owner") {
  SlabBudget budget;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(1, 0));
  const BlockId id = pool.take();
  pool.share(id);
  CHECK(pool.owners(id) == 2);
  pool.drop(id);
  CHECK(pool.owners(id) == 1);
  CHECK(pool.n_used() == 1);
  pool.drop(id);
  CHECK(budget.reserved_bytes == 0);
}

TEST_CASE("block_pool: a held block is idle while the tree is its only owner") {
  SlabBudget budget;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(2, 0));
  const BlockId a = pool.take(), b = pool.take();
  CHECK_FALSE(pool.held(a));
  pool.hold(a);
  CHECK(pool.held(a));
  CHECK_FALSE(pool.held(b));
  CHECK(pool.owners(a) == 2);
  CHECK(pool.n_idle() == 0);
  pool.drop(a);
  CHECK(pool.idle(a));
  CHECK(pool.n_idle() == 1);
  CHECK(pool.n_used() == 2);
  pool.share(a);
  CHECK_FALSE(pool.idle(a));
  CHECK(pool.n_idle() == 0);
  pool.share(a);
  pool.drop(a);
  CHECK(pool.n_idle() == 0);
  pool.drop(a);
  CHECK(pool.n_idle() == 1);
  pool.let_go(a);
  CHECK(pool.n_idle() == 0);
  CHECK(pool.n_used() == 1);
  pool.drop(b);
  CHECK(budget.reserved_bytes == 0);
}

TEST_CASE("block_pool: letting go of a block that a table owns, too, leaves it to the table") {
  SlabBudget budget;
  BlockPool pool(kPageBytes, kManyBlocks, &budget);
  REQUIRE(pool.make_free(1, 0));
  const BlockId id = pool.take();
  pool.hold(id);
  pool.let_go(id);
  CHECK(pool.owners(id) == 1);
  CHECK_FALSE(pool.held(id));
  CHECK(pool.n_idle() == 0);
  pool.drop(id);
  REQUIRE(pool.make_free(1, 0));
  CHECK_FALSE(pool.held(pool.take()));
}

TEST_CASE("block_pool: a slab is returnable when all its used blocks are idle") {
  SlabBudget budget;
  BlockPool pool(10 * kHugePageBytes, kManyBlocks, &budget);  // a slab a block
  REQUIRE(pool.make_free(2, 0));
  const BlockId a = pool.take(), b = pool.take();
  CHECK(pool.returnable_bytes() == 0);
  pool.hold(a);
  pool.drop(a);
  CHECK(pool.returnable_bytes() == 10 * kHugePageBytes);
  pool.hold(b);
  pool.drop(b);
  CHECK(pool.returnable_bytes() == 20 * kHugePageBytes);
  pool.share(b);
  CHECK(pool.returnable_bytes() == 10 * kHugePageBytes);

  BlockPool small(kPageBytes, kManyBlocks, &budget);  // two blocks and a free one in a slab
  REQUIRE(small.make_free(2, kPageBytes));
  const BlockId c = small.take(), d = small.take();
  small.hold(c);
  small.drop(c);
  CHECK(small.returnable_bytes() == 0);
  small.hold(d);
  small.drop(d);
  CHECK(small.returnable_bytes() == 3 * kPageBytes);
}

TEST_CASE("block_pool: when the system has no more, trim() gives back what was taken") {
  SlabBudget budget;
  BlockPool pool(size_t{1} << 50, 4, &budget);  // beyond the address space of any x86-64 process
  CHECK_FALSE(pool.make_free(2, 0));
  pool.trim();
  CHECK(budget.reserved_bytes == 0);
  CHECK(pool.n_free() == 0);
}

TEST_CASE("block_pool: idle blocks are counted right in a random order of shares, holds and drops") {
  constexpr unsigned kSeed = 12;
  CAPTURE(kSeed);
  std::mt19937 random(kSeed);
  SlabBudget budget;
  BlockPool pool(kHugePageBytes / 4, kManyBlocks, &budget);
  struct Known {
    BlockId id;
    int n_tables;
    bool held;
  };
  std::vector<Known> known;
  for (int step = 0; step < 5000; ++step) {
    if (known.empty() || random() % 4 == 0) {
      REQUIRE(pool.make_free(1, 0));
      known.push_back({pool.take(), 1, false});
    }
    std::swap(known[random() % known.size()], known.back());
    Known& block = known.back();
    switch (random() % 5) {
      case 0:
        pool.share(block.id);
        ++block.n_tables;
        break;
      case 1:
        if (!block.held) pool.hold(block.id);
        block.held = true;
        break;
      case 2:
        if (block.held) pool.let_go(block.id);
        block.held = false;
        break;
      default:
        if (block.n_tables > 0) pool.drop(block.id), --block.n_tables;
        break;
    }
    if (block.n_tables == 0 && !block.held) known.pop_back();
    int64_t n_idle = 0;
    std::map<int32_t, bool> returnable;
    for (const Known& k : known) {
      REQUIRE(pool.owners(k.id) == k.n_tables + k.held);
      n_idle += k.n_tables == 0;
      const auto [slab, added] = returnable.emplace(k.id.slab, true);
      slab->second = slab->second && k.n_tables == 0;
    }
    size_t returnable_bytes = 0;
    for (const auto& [slab, all_idle] : returnable)
      if (all_idle) returnable_bytes += pool.slabs()[slab].memory.size_bytes();
    REQUIRE(pool.n_idle() == n_idle);
    REQUIRE(pool.returnable_bytes() == returnable_bytes);
  }
}

TEST_CASE("block_pool: blocks never overlap and counts add up in a random order of takes and drops") {
  constexpr unsigned kSeed = 11;
  CAPTURE(kSeed);
  std::mt19937 random(kSeed);
  SlabBudget budget;
  budget.limit_bytes = 256 * 3 * kPageBytes;
  BlockPool pool(3 * kPageBytes, kManyBlocks, &budget);
  std::vector<BlockId> held;
  std::set<std::byte*> places;
  for (int step = 0; step < 20000; ++step) {
    const bool may_take = pool.missing_bytes(1) <= budget.left_bytes();
    if (may_take && random() % 100 < (step / 2000 % 2 == 0 ? 60U : 40U)) {
      REQUIRE(pool.make_free(1, budget.left_bytes() - pool.missing_bytes(1)));
      held.push_back(pool.take());
      REQUIRE(places.insert(pool.data(held.back())).second);
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      REQUIRE(places.erase(pool.data(held.back())) == 1);
      pool.drop(held.back());
      held.pop_back();
    }
    REQUIRE(pool.n_used() == static_cast<int64_t>(held.size()));
    REQUIRE(budget.reserved_bytes == static_cast<size_t>(pool.n_used() + pool.n_free()) * pool.block_bytes());
    REQUIRE(budget.reserved_bytes <= budget.limit_bytes);
  }
  for (const BlockId id : held) pool.drop(id);
  CHECK(budget.reserved_bytes == 0);
}

}  // namespace
}  // namespace decant::cache
