// SPDX-License-Identifier: Apache-2.0

// Sequences and the tree of known prefixes, as one cache.

#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

using test::PlainCache;

const std::vector<KvLayerShape> kLayers = {{2, 8, 4, 0}, {1, 8, 8, 0}};
const std::vector<KvLayerShape> kWindowed = {{2, 8, 4, 0}, {1, 8, 8, 24}};

std::vector<int32_t> counting(int n, int from = 0) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), from);
  return ids;
}

/// A cache of blocks of 16, n_blocks of each group at most; 0: no limit.
std::unique_ptr<KvCache> cache_of(const std::vector<KvLayerShape>& layers, int n_blocks,
                                  size_t prefix_bytes = 1 << 30) {
  CacheOptions options = test::cache_options(KvType::f32, 16);
  options.limit_bytes = static_cast<size_t>(n_blocks) * test::make_cache(layers, options, 1, 16)->bytes_needed(16);
  options.prefix_bytes = prefix_bytes;
  return test::make_cache(layers, options, 6, 400);
}

/// Grows by n tokens; those of a PlainCache are a function of their position only, so all texts here agree.
ErrorCode grow(KvCache& cache, SequenceIndex s, PlainCache& plain, int n) {
  const KvGrowth growth{s, n};
  Result<KvReservation> slots = cache.reserve({&growth, 1});
  if (!slots) return slots.error().code;
  const int first = plain.len();
  for (int i = 0; i < n; ++i) plain.append(static_cast<unsigned>(first + i));
  REQUIRE(test::write_tokens(cache, s, plain, static_cast<int>(kLayers.size()), first));
  slots->commit();
  REQUIRE(cache.check_invariants() == "");
  return ErrorCode::ok;
}

PlainCache plain_of(const std::vector<KvLayerShape>& layers, int n) {
  PlainCache plain(layers);
  for (int i = 0; i < n; ++i) plain.append(static_cast<unsigned>(i));
  return plain;
}

TEST_CASE("kv_cache: a new sequence takes whole blocks of a known prefix and copies the rest of the last one") {
  auto cache = cache_of(kLayers, 0);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 60);
  cache->publish_prefix(a, "salt", counting(60), 0);
  const size_t before = cache->stats().used_bytes;
  for (const int n : {1, 15, 16, 40, 59, 60, 90}) {
    CAPTURE(n);
    const SequenceIndex b = *cache->add_sequence();
    const PrefixHit hit = cache->adopt_prefix(b, "salt", counting(n));
    const int known = std::min(n, 60);
    CHECK(hit.n_tokens == known);
    CHECK(hit.n_known == known);
    CHECK(hit.why == (n > 60 ? PrefixMiss::diverged : PrefixMiss::none));
    CHECK(cache->stats().used_bytes == before + (known % 16 == 0 ? 0 : cache->bytes_needed(1)));
    CHECK(test::same_contents(*cache, b, plain_of(kLayers, known), kLayers));
    CHECK(cache->check_invariants() == "");
    // Both go on by themselves.
    PlainCache mine = plain_of(kLayers, known);
    CHECK(grow(*cache, b, mine, 20) == ErrorCode::ok);
    CHECK(test::same_contents(*cache, b, mine, kLayers));
    CHECK(test::same_contents(*cache, a, plain, kLayers));
    cache->release(b);
  }
  CHECK(cache->adopt_prefix(*cache->add_sequence(), "pepper", counting(60)).why == PrefixMiss::unknown);
  CHECK(cache->stats().prefixes.n_lookups == 8);
}

TEST_CASE("kv_cache: what a released sequence published stays until memory is asked for, and not beyond its budget") {
  auto cache = cache_of(kLayers, 10);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 100);
  cache->publish_prefix(a, "", counting(100), 0);
  cache->release(a);
  CHECK(cache->stats().prefix_bytes == cache->bytes_needed(100));
  CHECK(cache->stats().n_sequences == 0);
  const SequenceIndex b = *cache->add_sequence();
  PlainCache other(kLayers);
  CHECK(grow(*cache, b, other, 161) == ErrorCode::cache_full);  // eleven blocks: not even without prefixes
  CHECK(cache->stats().prefix_bytes == cache->bytes_needed(100));
  CHECK(grow(*cache, b, other, 160) == ErrorCode::ok);
  CHECK(cache->stats().prefix_bytes == 0);
  CHECK(cache->stats().prefixes.n_evicted_blocks > 0);
  cache->release(b);
  CHECK(cache->adopt_prefix(*cache->add_sequence(), "", counting(100)).why == PrefixMiss::evicted);
  CHECK(cache->stats().reserved_bytes == 0);

  auto small = cache_of(kLayers, 0, cache_of(kLayers, 0)->bytes_needed(48));
  const SequenceIndex c = *small->add_sequence();
  PlainCache third(kLayers);
  grow(*small, c, third, 100);
  small->publish_prefix(c, "", counting(100), 0);
  CHECK(small->stats().prefix_bytes == 0);  // a sequence uses all of it
  small->release(c);
  CHECK(small->stats().prefix_bytes <= small->bytes_needed(48));
  CHECK(small->stats().prefix_bytes > 0);
}

TEST_CASE("kv_cache: a truncated sequence that grows into a block of the tree copies it, even when room must be made") {
  auto cache = cache_of(kLayers, 3);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 48);
  cache->publish_prefix(a, "", counting(48), 0);
  REQUIRE(*cache->truncate(a, 40) == 40);
  plain.cut(40);
  // The third block is the tree's, too, and there is no room for a copy: the tree lets go.
  CHECK(grow(*cache, a, plain, 9) == ErrorCode::cache_full);
  CHECK(cache->stats().prefixes.n_nodes == 3);
  CHECK(grow(*cache, a, plain, 8) == ErrorCode::ok);
  CHECK(cache->stats().prefixes.n_nodes == 0);
  CHECK(test::same_contents(*cache, a, plain, kLayers));

  auto roomy = cache_of(kLayers, 5);
  const SequenceIndex b = *roomy->add_sequence(), c = *roomy->add_sequence();
  PlainCache second(kLayers), idle(kLayers);
  grow(*roomy, b, second, 48);
  roomy->publish_prefix(b, "", counting(48), 0);
  grow(*roomy, c, idle, 32);
  roomy->publish_prefix(c, "other", counting(32), 0);
  roomy->release(c);
  REQUIRE(*roomy->truncate(b, 40) == 40);
  second.cut(40);
  CHECK(grow(*roomy, b, second, 4) == ErrorCode::ok);  // what nobody uses makes way for the copy
  CHECK(roomy->stats().prefixes.n_nodes == 4);
  CHECK(test::same_contents(*roomy, b, second, kLayers));
}

TEST_CASE("kv_cache: a growth or removal without room leaves what its sequence published known") {
  auto cache = cache_of(kLayers, 4);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 40);
  cache->publish_prefix(a, "", counting(40), 0);
  const SequenceIndex fork = *cache->fork(a);
  const CacheStats before = cache->stats();
  CHECK(grow(*cache, a, plain, 40) == ErrorCode::cache_full);
  CHECK(cache->remove(a, 1, 1).error().code == ErrorCode::cache_full);
  CHECK(cache->stats().prefixes.n_nodes == 3);
  CHECK(cache->stats().shared_bytes == before.shared_bytes);
  CHECK(cache->check_invariants() == "");
  cache->release(fork);
  CHECK(cache->adopt_prefix(*cache->add_sequence(), "", counting(40)).n_tokens == 40);
  CHECK(test::same_contents(*cache, a, plain, kLayers));
}

TEST_CASE("kv_cache: blocks that nobody uses make way even above one that a sequence added") {
  auto cache = cache_of(kLayers, 5);
  const SequenceIndex a = *cache->add_sequence(), b = *cache->add_sequence();
  PlainCache plain(kLayers), other(kLayers);
  grow(*cache, b, other, 32);
  cache->publish_prefix(b, "", counting(32), 0);
  grow(*cache, a, plain, 48);  // computed by itself: the tree has its third block, and the first two of the other
  cache->publish_prefix(a, "", counting(48), 0);
  cache->release(b);
  CHECK(cache->stats().prefix_bytes == cache->bytes_needed(32));
  CHECK(grow(*cache, a, plain, 33) == ErrorCode::cache_full);
  CHECK(cache->stats().prefixes.n_nodes == 3);
  CHECK(grow(*cache, a, plain, 32) == ErrorCode::ok);
  CHECK(test::same_contents(*cache, a, plain, kLayers));
}

TEST_CASE("kv_cache: a growth that is rolled back leaves known prefixes within their budget") {
  auto cache = cache_of(kLayers, 0, 1);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 48);
  cache->publish_prefix(a, "", counting(48), 0);
  REQUIRE(*cache->truncate(a, 40) == 40);
  plain.cut(40);
  const KvGrowth growth{a, 1};
  CHECK(cache->reserve({&growth, 1}).ok());  // copies a block that was the tree's, too
  CHECK(cache->stats().prefix_bytes == 0);
  CHECK(cache->check_invariants() == "");
  CHECK(test::same_contents(*cache, a, plain, kLayers));
}

TEST_CASE("kv_cache: known prefixes that nobody uses make way for sinks") {
  auto cache = cache_of(kLayers, 3);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 48);
  cache->publish_prefix(a, "", counting(48), 0);
  CHECK(cache->keep_sinks(*cache->add_sequence(), 4).error().code == ErrorCode::cache_full);
  CHECK(cache->stats().prefixes.n_nodes == 3);
  cache->release(a);
  const SequenceIndex b = *cache->add_sequence();
  CHECK(cache->keep_sinks(b, 4).ok());
  CHECK(cache->stats().sink_bytes > 0);
  CHECK(cache->fork(b).ok());
  CHECK(cache->check_invariants() == "");
}

TEST_CASE("kv_cache: its own published end is written in place, without a copy") {
  auto cache = cache_of(kLayers, 3);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 40);
  for (int i = 0; i < 8; ++i) {
    cache->publish_prefix(a, "", counting(plain.len()), 0);
    CHECK(cache->stats().used_bytes == cache->bytes_needed(48));
    REQUIRE(grow(*cache, a, plain, 1) == ErrorCode::ok);
  }
  CHECK(test::same_contents(*cache, a, plain, kLayers));
}

TEST_CASE("kv_cache: without room for a copy only whole blocks are taken, and the hit says why") {
  auto cache = cache_of(kLayers, 3);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 40);
  cache->publish_prefix(a, "", counting(40), 0);
  const SequenceIndex b = *cache->add_sequence();
  const PrefixHit hit = cache->adopt_prefix(b, "", counting(40));
  CHECK(hit.n_tokens == 32);
  CHECK(hit.n_known == 40);
  CHECK(hit.why == PrefixMiss::no_memory);
  CHECK(test::same_contents(*cache, b, plain_of(kLayers, 32), kLayers));
  CHECK(cache->check_invariants() == "");
}

TEST_CASE("kv_cache: a prefix ends where a window lacks something, and says how far it was known") {
  auto cache = cache_of(kWindowed, 0);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kWindowed);
  grow(*cache, a, plain, 100);  // the window keeps slots from 64 on
  cache->publish_prefix(a, "", counting(100), 0);
  const auto hit = [&](int n) {
    const SequenceIndex b = *cache->add_sequence();
    const PrefixHit found = cache->adopt_prefix(b, "", counting(n));
    CHECK(test::same_contents(*cache, b, plain_of(kWindowed, found.n_tokens), kWindowed));
    CHECK(cache->check_invariants() == "");
    PlainCache mine = plain_of(kWindowed, found.n_tokens);
    CHECK(grow(*cache, b, mine, 40) == ErrorCode::ok);
    CHECK(test::same_contents(*cache, b, mine, kWindowed));
    cache->release(b);
    return found;
  };
  CHECK(hit(100).n_tokens == 100);
  CHECK(hit(96).n_tokens == 96);
  const PrefixHit middle = hit(60);
  CHECK(middle.n_tokens == 0);
  CHECK(middle.n_known == 60);
  CHECK(middle.why == PrefixMiss::window);
}

TEST_CASE("kv_cache: what was shifted or slid is never shared") {
  auto cache = cache_of(kLayers, 0);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 80);
  REQUIRE(cache->remove(a, 35, 10).ok());
  cache->publish_prefix(a, "", counting(70), 0);
  const SequenceIndex b = *cache->add_sequence();
  CHECK(cache->adopt_prefix(b, "", counting(70)).n_tokens == 35);
  CHECK(test::same_contents(*cache, b, plain_of(kLayers, 35), kLayers));

  const SequenceIndex c = *cache->add_sequence();
  REQUIRE(cache->keep_sinks(c, 2).ok());
  PlainCache slid(kLayers);
  grow(*cache, c, slid, 40);
  cache->publish_prefix(c, "sinks", counting(40), 0);
  CHECK(cache->adopt_prefix(*cache->add_sequence(), "sinks", counting(40)).why == PrefixMiss::unknown);
}

TEST_CASE("kv_cache: sharing that is switched off does nothing") {
  auto cache = cache_of(kLayers, 0, 0);
  const SequenceIndex a = *cache->add_sequence();
  PlainCache plain(kLayers);
  grow(*cache, a, plain, 40);
  cache->publish_prefix(a, "", counting(40), 0);
  CHECK(cache->adopt_prefix(*cache->add_sequence(), "", counting(40)).why == PrefixMiss::off);
  CHECK(cache->stats().prefixes.n_nodes == 0);
  cache->release(a);
  CHECK(cache->stats().reserved_bytes == 0);
}

}  // namespace
}  // namespace decant::cache
