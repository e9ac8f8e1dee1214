// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

using test::PlainCache;

const std::vector<KvLayerShape> kLayers = {{2, 8, 4, 0}, {1, 24, 16, 40}, {3, 5, 8, 0}};

// A cache of one sequence of n tokens.
struct Grown {
  explicit Grown(int n, int max_sequences = 4, int block_tokens = 32, size_t limit_bytes = 0)
      : cache(
            test::make_cache(kLayers, test::cache_options(KvType::f32, block_tokens, limit_bytes), max_sequences, 300)),
        plain(kLayers) {
    sequence = *cache->add_sequence();
    append({{sequence, &plain}}, n, true);
  }

  // Grows sequences by n tokens each, all in one reservation.
  void append(const std::vector<std::pair<SequenceIndex, PlainCache*>>& sequences, int n, bool commit) {
    std::vector<KvGrowth> growths;
    for (const auto& [s, p] : sequences) growths.push_back({s, n});
    Result<KvReservation> slots = cache->reserve(growths);
    REQUIRE_MESSAGE(slots.ok(), slots.error().message);
    REQUIRE(cache->check_invariants() == "");
    for (const auto& [s, p] : sequences) {
      const int first = p->len();
      for (int i = 0; i < n; ++i) p->append(++stamp);
      REQUIRE(test::write_tokens(*cache, s, *p, static_cast<int>(kLayers.size()), first));
      if (!commit) p->cut(first);
    }
    if (commit) slots->commit();
  }

  bool holds(SequenceIndex s, const PlainCache& p) const {
    return test::same_contents(*cache, s, p, kLayers) && cache->check_invariants().empty();
  }

  std::unique_ptr<KvCache> cache;
  PlainCache plain;
  SequenceIndex sequence = 0;
  unsigned stamp = 0;
};

TEST_CASE("kv_cache: a fork takes no bytes, and neither side sees what the other does") {
  for (const int len : {0, 1, 16, 31, 32, 33, 64, 100})
    for (const int block_tokens : {16, 32, 64, 256}) {
      CAPTURE(len);
      CAPTURE(block_tokens);
      Grown g(len, 4, block_tokens);
      const CacheStats before = g.cache->stats();
      const SequenceIndex fork = *g.cache->fork(g.sequence);
      PlainCache forked = g.plain;
      CHECK(g.cache->stats().used_bytes == before.used_bytes);
      CHECK(g.cache->stats().n_sequences == 2);
      CHECK(g.holds(fork, forked));
      g.append({{fork, &forked}}, 5, true);
      CHECK(g.holds(fork, forked));
      CHECK(g.holds(g.sequence, g.plain));
      g.append({{g.sequence, &g.plain}}, 50, true);
      g.append({{fork, &forked}}, 50, true);
      CHECK(g.holds(fork, forked));
      CHECK(g.holds(g.sequence, g.plain));
      g.cache->release(g.sequence);
      CHECK(g.holds(fork, forked));
      g.cache->release(fork);
      CHECK(g.cache->stats().reserved_bytes == 0);
    }
}

TEST_CASE("kv_cache: a partly full block is copied once for each sharer that grows but the last") {
  Grown g(40, 4, 32);  // two blocks a group, the second partly full
  std::vector<SequenceIndex> forks;
  std::vector<PlainCache> plain(3, g.plain);
  for (int i = 0; i < 3; ++i) forks.push_back(*g.cache->fork(g.sequence));
  CHECK(g.cache->stats().n_blocks_used == 4);
  g.append({{forks[0], &plain[0]}, {forks[1], &plain[1]}}, 3, true);
  CHECK(g.cache->stats().n_blocks_used == 4 + 2 * 2);
  g.append({{forks[2], &plain[2]}, {g.sequence, &g.plain}}, 3, true);  // the two that still share
  CHECK(g.cache->stats().n_blocks_used == 4 + 3 * 2);
  g.append({{g.sequence, &g.plain}, {forks[0], &plain[0]}}, 3, true);  // nothing is shared any more
  CHECK(g.cache->stats().n_blocks_used == 4 + 3 * 2);
  for (int i = 0; i < 3; ++i) CHECK(g.holds(forks[i], plain[i]));
  CHECK(g.holds(g.sequence, g.plain));
}

TEST_CASE("kv_cache: a fork of whole blocks copies nothing") {
  Grown g(64, 2, 32);
  PlainCache forked = g.plain;
  const SequenceIndex fork = *g.cache->fork(g.sequence);
  const int64_t before = g.cache->stats().n_blocks_used;
  g.append({{fork, &forked}, {g.sequence, &g.plain}}, 1, true);
  CHECK(g.cache->view(fork, 0, 0).blocks[1] == g.cache->view(g.sequence, 0, 0).blocks[1]);
  // One new block a group for each; 26 tokens outlived by the window aren't a whole block yet.
  CHECK(g.cache->stats().n_blocks_used == before + 4);
  CHECK(g.holds(fork, forked));
}

TEST_CASE("kv_cache: a shorter sharer that grows and rolls back leaves the longer one's tokens alone") {
  for (const bool commit : {false, true})
    for (const bool longer_first : {false, true}) {
      Grown g(30);
      PlainCache shorter = g.plain;
      const SequenceIndex fork = *g.cache->fork(g.sequence);
      REQUIRE(g.cache->truncate(fork, 17).ok());
      shorter.cut(17);
      if (longer_first) {
        g.append({{g.sequence, &g.plain}, {fork, &shorter}}, 9, commit);
      } else {
        g.append({{fork, &shorter}, {g.sequence, &g.plain}}, 9, commit);
      }
      CHECK(g.holds(fork, shorter));
      CHECK(g.holds(g.sequence, g.plain));
    }
}

TEST_CASE("kv_cache: a reservation that fails leaves shared blocks shared") {
  const size_t block = test::make_cache(kLayers, test::cache_options(KvType::f32, 32), 1, 32)->bytes_needed(1);
  Grown g(40, 3, 32, 3 * block);
  PlainCache forked = g.plain;
  const SequenceIndex fork = *g.cache->fork(g.sequence);
  const std::vector<KvGrowth> both_copy_and_grow = {{fork, 25}, {g.sequence, 1}};
  const CacheStats before = g.cache->stats();
  const Result<KvReservation> slots = g.cache->reserve(both_copy_and_grow);
  REQUIRE(!slots.ok());
  CHECK(slots.error().code == ErrorCode::cache_full);
  CHECK(g.cache->stats().used_bytes == before.used_bytes);
  CHECK(g.cache->stats().reserved_bytes == before.reserved_bytes);
  CHECK(g.holds(fork, forked));
  CHECK(g.holds(g.sequence, g.plain));
  g.append({{fork, &forked}, {g.sequence, &g.plain}}, 1, true);  // one copy fits
  CHECK(g.holds(fork, forked));
}

TEST_CASE("kv_cache: a limit of exactly what all sequences need is enough for forks that all grow") {
  const size_t one = test::make_cache(kLayers, test::cache_options(KvType::f32, 32), 1, 300)->bytes_needed(20);
  Grown g(10, 4, 32, 4 * one);
  std::vector<PlainCache> plain(3, g.plain);
  std::vector<std::pair<SequenceIndex, PlainCache*>> all = {{g.sequence, &g.plain}};
  for (PlainCache& p : plain) all.emplace_back(*g.cache->fork(g.sequence), &p);
  g.append(all, 10, true);
  CHECK(g.cache->stats().used_bytes == 4 * one);
  for (const auto& [s, p] : all) CHECK(g.holds(s, *p));
}

TEST_CASE("kv_cache: releasing a fork beneath its reservation leaves nothing behind") {
  Grown g(20);
  const SequenceIndex fork = *g.cache->fork(g.sequence);
  {
    const KvGrowth growth{fork, 30};
    const Result<KvReservation> slots = g.cache->reserve({&growth, 1});
    REQUIRE(slots.ok());
    g.cache->release(fork);
  }
  CHECK(g.holds(g.sequence, g.plain));
  CHECK(g.cache->stats().used_bytes == g.cache->bytes_needed(20));
}

TEST_CASE("kv_cache: a fork of none, beneath a reservation or beyond the places is an error") {
  Grown g(20, 2);
  CHECK(g.cache->fork(1).error().code == ErrorCode::invalid_argument);
  CHECK(g.cache->fork(-1).error().code == ErrorCode::invalid_argument);
  const KvGrowth growth{g.sequence, 1};
  {
    const Result<KvReservation> slots = g.cache->reserve({&growth, 1});
    CHECK(g.cache->fork(g.sequence).error().code == ErrorCode::invalid_argument);
  }
  CHECK(g.cache->fork(g.sequence).ok());
  CHECK(g.cache->fork(g.sequence).error().code == ErrorCode::cache_full);
  CHECK(g.cache->check_invariants() == "");
}

}  // namespace
}  // namespace decant::cache
