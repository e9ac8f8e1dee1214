// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "decant/cache.h"

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

using test::cache_options;
using test::make_cache;
using test::PlainCache;

const std::vector<KvLayerShape> kTwoLayers = {{2, 8, 4, 0}, {1, 24, 16, 0}};
const std::vector<KvLayerShape> kMixed = {{2, 8, 8, 16}, {2, 8, 8, 0}, {1, 4, 20, 16}, {3, 16, 8, 0}};

// Appends n tokens in one reservation and commits them.
void append(KvCache& cache, SequenceIndex s, PlainCache& plain, int n, int n_layers, unsigned seed = 0) {
  const KvGrowth growth{s, n};
  Result<KvReservation> slots = cache.reserve({&growth, 1});
  REQUIRE_MESSAGE(slots.ok(), slots.error().message);
  const int first = plain.len();
  for (int i = 0; i < n; ++i) plain.append(seed + static_cast<unsigned>(first + i));
  REQUIRE(test::write_tokens(cache, s, plain, n_layers, first));
  slots->commit();
}

ErrorCode reserve_error(KvCache& cache, std::vector<KvGrowth> growths) {
  const Result<KvReservation> slots = cache.reserve(growths);
  return slots ? ErrorCode::ok : slots.error().code;
}

bool same_stats(const CacheStats& a, const CacheStats& b) {
  return a.limit_bytes == b.limit_bytes && a.reserved_bytes == b.reserved_bytes && a.used_bytes == b.used_bytes &&
         a.n_blocks_used == b.n_blocks_used && a.n_blocks_free == b.n_blocks_free && a.n_sequences == b.n_sequences;
}

TEST_CASE("kv_cache: what was written comes back, for every block size and type, however it was appended") {
  for (const KvType type : {KvType::f32, KvType::f16})
    for (const int block_tokens : {16, 32, 48, 64, 256})
      for (const int step : {1, 7, 16, 300}) {
        CAPTURE(block_tokens);
        CAPTURE(step);
        auto cache = make_cache(kTwoLayers, cache_options(type, block_tokens), 2, 300);
        const SequenceIndex s = *cache->add_sequence();
        PlainCache plain(kTwoLayers);
        for (int len = 0; len < 300; len += step) append(*cache, s, plain, std::min(step, 300 - len), 2);
        CHECK(cache->length(s) == 300);
        CHECK(test::same_contents(*cache, s, plain, kTwoLayers));
        CHECK(cache->check_invariants() == "");
      }
}

TEST_CASE("kv_cache: K and V may have types of their own") {
  CacheOptions options = cache_options(KvType::f32, 16);
  options.v_type = KvType::f16;
  auto cache = make_cache(kTwoLayers, options, 1, 100);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kTwoLayers);
  append(*cache, s, plain, 50, 2);
  CHECK(cache->view(s, 0, 0).k_type == KvType::f32);
  CHECK(cache->view(s, 0, 0).v_type == KvType::f16);
  CHECK(test::same_contents(*cache, s, plain, kTwoLayers));
}

TEST_CASE("kv_cache: runs of K tiles and of V tiles start on 64 bytes and don't overlap") {
  const std::vector<KvLayerShape> odd = {{3, 5, 7, 0}, {2, 1, 3, 0}, {1, 80, 33, 0}};
  for (const KvType type : {KvType::f32, KvType::f16})
    for (const int block_tokens : {16, 32, 112}) {
      auto cache = make_cache(odd, cache_options(type, block_tokens), 1, 128);
      const SequenceIndex s = *cache->add_sequence();
      PlainCache plain(odd);
      append(*cache, s, plain, 128, 3);
      size_t end = 0;
      for (int l = 0; l < 3; ++l)
        for (int h = 0; h < odd[l].n_kv_heads; ++h) {
          const KvView view = cache->view(s, l, h);
          const size_t width = type == KvType::f32 ? 4 : 2;
          CHECK(view.k_offset % 64 == 0);
          CHECK(view.v_offset % 64 == 0);
          CHECK(view.k_offset >= end);
          CHECK(view.v_offset >= view.k_offset + static_cast<size_t>(odd[l].k_dim * block_tokens) * width);
          end = view.v_offset + static_cast<size_t>(odd[l].v_dim * block_tokens) * width;
        }
      CHECK(end <= cache->bytes_needed(1));
      CHECK(test::same_contents(*cache, s, plain, odd));
    }
}

TEST_CASE("kv_cache: reserved slots show in the view, length counts committed ones, going away rolls back") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kTwoLayers);
  append(*cache, s, plain, 20, 2);
  const CacheStats before = cache->stats();
  {
    const KvGrowth growth{s, 40};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE(slots.ok());
    CHECK(cache->length(s) == 20);
    CHECK(cache->view(s, 1, 0).len == 60);
    CHECK(cache->stats().n_blocks_used == 4);
    CHECK(cache->check_invariants() == "");
    const std::vector<float> noise(64, 3.0F);
    CHECK(cache->write(s, 0, 20, noise.data(), noise.data()));
  }
  CHECK(cache->view(s, 1, 0).len == 20);
  CHECK(same_stats(cache->stats(), before));
  append(*cache, s, plain, 5, 2);
  CHECK(test::same_contents(*cache, s, plain, kTwoLayers));
  CHECK(cache->check_invariants() == "");
}

TEST_CASE("kv_cache: a reservation can be moved and assigned, and rolls back once") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex s = *cache->add_sequence();
  const KvGrowth growth{s, 10};
  {
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    KvReservation moved = std::move(*slots);
    KvReservation assigned;
    assigned = std::move(moved);
    CHECK(cache->view(s, 0, 0).len == 10);
    moved.commit();  // it holds nothing any more
    CHECK(cache->length(s) == 0);
    assigned = KvReservation();
    CHECK(cache->view(s, 0, 0).len == 0);
  }
  CHECK(cache->stats().reserved_bytes == 0);
  CHECK(reserve_error(*cache, {growth}) == ErrorCode::ok);
}

TEST_CASE("kv_cache: one reservation at a time, and no truncation beneath it") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex s = *cache->add_sequence();
  const KvGrowth growth{s, 10};
  Result<KvReservation> slots = cache->reserve({&growth, 1});
  REQUIRE(slots.ok());
  CHECK(reserve_error(*cache, {growth}) == ErrorCode::invalid_argument);
  CHECK(cache->truncate(s, 0).error().code == ErrorCode::invalid_argument);
  CHECK(cache->view(s, 0, 0).len == 10);
  slots->commit();
  CHECK(cache->length(s) == 10);
}

TEST_CASE("kv_cache: releasing a sequence beneath its reservation leaves nothing behind") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 1, 100);
  for (const bool commit : {false, true}) {
    const SequenceIndex s = *cache->add_sequence();
    const KvGrowth growth{s, 40};
    {
      Result<KvReservation> slots = cache->reserve({&growth, 1});
      REQUIRE(slots.ok());
      cache->release(s);
      CHECK(*cache->add_sequence() == s);
      if (commit) slots->commit();
    }
    CHECK(cache->length(s) == 0);
    CHECK(cache->stats().reserved_bytes == 0);
    CHECK(cache->check_invariants() == "");
    cache->release(s);
  }
}

TEST_CASE("kv_cache: growths of several sequences happen together; the same one twice adds up") {
  auto cache = make_cache(kMixed, cache_options(KvType::f16, 16), 3, 64);
  const SequenceIndex a = *cache->add_sequence(), b = *cache->add_sequence();
  const CacheStats before = cache->stats();
  CHECK(reserve_error(*cache, {{a, 10}, {b, 65}}) == ErrorCode::invalid_argument);
  CHECK(reserve_error(*cache, {{a, 10}, {2, 1}}) == ErrorCode::invalid_argument);
  CHECK(reserve_error(*cache, {{a, 10}, {b, -1}}) == ErrorCode::invalid_argument);
  CHECK(reserve_error(*cache, {{a, 40}, {b, 2}, {a, 25}}) == ErrorCode::invalid_argument);
  CHECK(reserve_error(*cache, {{a, std::numeric_limits<int>::max()}}) == ErrorCode::invalid_argument);
  CHECK(same_stats(cache->stats(), before));
  CHECK(cache->check_invariants() == "");
  const std::vector<KvGrowth> growths = {{a, 40}, {b, 2}, {a, 24}, {b, 0}};
  Result<KvReservation> slots = cache->reserve(growths);
  REQUIRE(slots.ok());
  slots->commit();
  CHECK(cache->length(a) == 64);
  CHECK(cache->length(b) == 2);
  CHECK(cache->check_invariants() == "");
  CHECK(reserve_error(*cache, {}) == ErrorCode::ok);
}

TEST_CASE("kv_cache: bytes_needed is what a sequence takes, to the byte") {
  for (const int block_tokens : {16, 64, 256}) {
    auto cache = make_cache(kMixed, cache_options(KvType::f16, block_tokens), 2, 1000);
    CHECK(cache->bytes_needed(0) == 0);
    CHECK(cache->bytes_needed(-5) == 0);
    for (const int n : {1, 15, 16, 17, 255, 256, 257, 1000}) {
      const SequenceIndex s = *cache->add_sequence();
      const KvGrowth growth{s, n};
      Result<KvReservation> slots = cache->reserve({&growth, 1});
      REQUIRE(slots.ok());
      CHECK(cache->stats().used_bytes == cache->bytes_needed(n));
      CHECK(cache->stats().n_blocks_used == 2 * ((n + block_tokens - 1) / block_tokens));
      cache->release(s);
      CHECK(cache->stats().used_bytes == 0);
      CHECK(cache->stats().reserved_bytes == 0);
    }
  }
}

TEST_CASE("kv_cache: a limit of exactly what all sequences need is enough, whatever the order") {
  for (const int n_sequences : {1, 3, 40}) {
    const size_t one = make_cache(kMixed, cache_options(KvType::f32, 16), 1, 500)->bytes_needed(500);
    auto cache =
        make_cache(kMixed, cache_options(KvType::f32, 16, one * static_cast<size_t>(n_sequences)), n_sequences, 500);
    std::vector<KvGrowth> growths;
    for (int s = 0; s < n_sequences; ++s) growths.push_back({*cache->add_sequence(), 20});
    for (int len = 0; len < 500; len += 20) {
      Result<KvReservation> slots = cache->reserve(growths);
      REQUIRE_MESSAGE(slots.ok(), slots.error().message);
      slots->commit();
      REQUIRE(cache->check_invariants() == "");
    }
    for (const KvGrowth& growth : growths) cache->release(growth.sequence);
    CHECK(cache->stats().reserved_bytes == 0);
    growths.resize(static_cast<size_t>(n_sequences));
    for (KvGrowth& growth : growths) growth = {*cache->add_sequence(), 500};
    CHECK(cache->reserve(growths).ok());
  }
}

TEST_CASE("kv_cache: beyond the limit is cache_full, and nothing has changed") {
  const size_t block = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 1, 16)->bytes_needed(16);
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16, 5 * block + 100), 4, 1000);
  const SequenceIndex a = *cache->add_sequence(), b = *cache->add_sequence();
  PlainCache plain(kTwoLayers);
  append(*cache, a, plain, 40, 2);
  const CacheStats before = cache->stats();
  CHECK(before.used_bytes == 3 * block);
  CHECK(before.limit_bytes == 5 * block + 100);
  CHECK(reserve_error(*cache, {{a, 9}, {b, 17}}) == ErrorCode::cache_full);
  CHECK(reserve_error(*cache, {{b, 1000}}) == ErrorCode::cache_full);
  CHECK(same_stats(cache->stats(), before));
  CHECK(cache->view(a, 0, 0).len == 40);
  CHECK(cache->view(b, 0, 0).len == 0);
  CHECK(cache->check_invariants() == "");
  CHECK(test::same_contents(*cache, a, plain, kTwoLayers));
  CHECK(reserve_error(*cache, {{a, 8}, {b, 32}}) == ErrorCode::ok);
  cache->release(a);
  CHECK(reserve_error(*cache, {{b, 80}}) == ErrorCode::ok);
  CHECK(reserve_error(*cache, {{b, 81}}) == ErrorCode::cache_full);
}

TEST_CASE("kv_cache: when the system has no more it is out_of_memory for all growths, and nothing has changed") {
  // The second group's blocks pass the address space, the first group's slab is already taken by then.
  std::vector<KvLayerShape> layers = {{2, 8, 8, 16}};
  for (int i = 0; i < 64; ++i)
    layers.push_back({64, std::numeric_limits<int>::max() / 64, std::numeric_limits<int>::max() / 64, 0});
  auto cache = make_cache(layers, cache_options(KvType::f32, 256), 4, 1000);
  REQUIRE(cache->bytes_needed(1) > size_t{1} << 47);
  const SequenceIndex a = *cache->add_sequence(), b = *cache->add_sequence();
  CHECK(reserve_error(*cache, {{a, 1}, {b, 1}}) == ErrorCode::out_of_memory);
  CHECK(cache->stats().reserved_bytes == 0);
  CHECK(cache->stats().used_bytes == 0);
  CHECK(cache->view(a, 0, 0).len == 0);
  CHECK(cache->check_invariants() == "");
  CHECK(reserve_error(*cache, {}) == ErrorCode::ok);
}

TEST_CASE("kv_cache: a window gives back what no later query attends to, and nothing else") {
  for (const int block_tokens : {16, 32, 64})
    for (const int window : {1, 2, 15, 16, 17, 32, 33, 100}) {
      CAPTURE(block_tokens);
      CAPTURE(window);
      const std::vector<KvLayerShape> layers = {{1, 4, 4, window}, {1, 4, 4, 0}};
      auto cache = make_cache(layers, cache_options(KvType::f32, block_tokens), 1, 500);
      const SequenceIndex s = *cache->add_sequence();
      PlainCache plain(layers);
      unsigned steps = 1;
      while (plain.len() < 480) {
        append(*cache, s, plain, static_cast<int>(steps++ % 5 * 4 + 1), 2);
        const KvView view = cache->view(s, 0, 0);
        const int oldest = std::max(0, plain.len() - window + 1);  // a query at p = len attends to slots > p - window
        REQUIRE(view.first == oldest / block_tokens * block_tokens);
        REQUIRE(cache->view(s, 1, 0).first == 0);
        for (int tile = 0; tile * 16 < view.len; ++tile)
          REQUIRE((view.k_tile(tile) == nullptr) == (tile * 16 < view.first));
      }
      CHECK(test::same_contents(*cache, s, plain, layers));
      CHECK(cache->check_invariants() == "");
      std::vector<float> row(4);
      const int first = cache->view(s, 0, 0).first;
      CHECK(cache->copy_out(s, 0, first, 1, row.data(), nullptr).ok());
      CHECK(cache->copy_out(s, 0, first - 1, 1, row.data(), nullptr).error().code == ErrorCode::invalid_argument);
    }
}

TEST_CASE("kv_cache: a truncated and regrown sequence is as one that was never grown") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f16, 32), 1, 200);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kTwoLayers);
  append(*cache, s, plain, 150, 2);
  for (const int len : {150, 149, 96, 95, 33, 32, 1, 0}) {
    REQUIRE(cache->truncate(s, len).ok());
    plain.cut(len);
    CHECK(cache->length(s) == len);
    CHECK(cache->stats().used_bytes == cache->bytes_needed(len));
    CHECK(test::same_contents(*cache, s, plain, kTwoLayers));
    append(*cache, s, plain, 10, 2, 1000);
    CHECK(test::same_contents(*cache, s, plain, kTwoLayers));
    REQUIRE(cache->truncate(s, len).ok());
    plain.cut(len);
  }
  CHECK(cache->stats().reserved_bytes == 0);
  CHECK(cache->truncate(s, 1).error().code == ErrorCode::invalid_argument);
  CHECK(cache->truncate(s, -1).error().code == ErrorCode::invalid_argument);
  CHECK(cache->truncate(5, 0).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("kv_cache: a layer, head or slot that isn't there is empty, false, or nothing at all") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex s = *cache->add_sequence();
  const std::vector<float> row(64, 1.0F);
  const KvGrowth growth{s, 10};
  Result<KvReservation> slots = cache->reserve({&growth, 1});
  REQUIRE(slots.ok());
  CHECK(cache->write(s, 0, 9, row.data(), row.data()));
  for (const auto& [sequence, layer, pos] :
       {std::tuple(s, 0, 10), std::tuple(s, 0, -1), std::tuple(s, 2, 0), std::tuple(s, -1, 0), std::tuple(1, 0, 0)})
    CHECK_FALSE(cache->write(sequence, layer, pos, row.data(), row.data()));
  for (const auto& [sequence, layer, head] :
       {std::tuple(s, 0, 2), std::tuple(s, 0, -1), std::tuple(s, 2, 0), std::tuple(s, -1, 0), std::tuple(1, 0, 0)})
    CHECK(cache->view(sequence, layer, head).len == 0);
  cache->write_sink(s, 0, 0, row.data());  // it keeps none
  slots->commit();
  CHECK_FALSE(cache->write(s, 0, 9, row.data(), row.data()));
}

TEST_CASE("kv_cache: windows keep as many tokens more as truncations may take back") {
  CacheOptions options = cache_options(KvType::f32, 16);
  options.rollback_tokens = 40;
  auto cache = make_cache(kMixed, options, 1, 300);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kMixed);
  for (int round = 0; round < 4; ++round) {
    append(*cache, s, plain, 50, 4);
    REQUIRE(*cache->truncate(s, plain.len() - 40) == plain.len() - 40);
    plain.cut(plain.len() - 40);
    CHECK(test::same_contents(*cache, s, plain, kMixed));
    append(*cache, s, plain, 30, 4, 1000);
    CHECK(cache->check_invariants() == "");
  }
  CHECK(cache->view(s, 0, 0).first == (170 - 40 - 16 + 1) / 16 * 16);
}

TEST_CASE("kv_cache: truncating to where a window gave slots back leaves nothing, to be computed again") {
  auto cache = make_cache(kMixed, cache_options(KvType::f32, 16), 1, 200);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kMixed);
  append(*cache, s, plain, 100, 4);
  CHECK(cache->view(s, 0, 0).first == 80);  // a query at 100 attends to 85 and later
  CHECK(*cache->truncate(s, 95) == 95);
  plain.cut(95);
  CHECK(test::same_contents(*cache, s, plain, kMixed));
  CHECK(cache->check_invariants() == "");
  CHECK(*cache->truncate(s, 94) == 0);
  CHECK(cache->length(s) == 0);
  CHECK(cache->stats().reserved_bytes == 0);
  plain.cut(0);
  append(*cache, s, plain, 50, 4);
  CHECK(test::same_contents(*cache, s, plain, kMixed));
  CHECK(cache->check_invariants() == "");
}

TEST_CASE("kv_cache: numbers that are not finite or don't fit are refused") {
  for (const KvType type : {KvType::f32, KvType::f16}) {
    auto cache = make_cache(kTwoLayers, cache_options(type, 16), 1, 100);
    const SequenceIndex s = *cache->add_sequence();
    const KvGrowth growth{s, 1};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE(slots.ok());
    const std::vector<float> fine(64, 1.0F);
    CHECK(cache->write(s, 0, 0, fine.data(), fine.data()));
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")}) {
      std::vector<float> last_k = fine, last_v = fine;
      last_k[2 * 8 - 1] = bad;
      last_v[2 * 4 - 1] = bad;
      CHECK_FALSE(cache->write(s, 0, 0, last_k.data(), fine.data()));
      CHECK_FALSE(cache->write(s, 0, 0, fine.data(), last_v.data()));
    }
    std::vector<float> large = fine;
    large[0] = 70000.0F;
    CHECK(cache->write(s, 0, 0, large.data(), fine.data()) == (type == KvType::f32));
  }
}

TEST_CASE("kv_cache: wrong shapes, options and limits are invalid_argument") {
  const auto code = [](std::vector<KvLayerShape> layers, const CacheOptions& options, int sequences, int tokens) {
    const auto made = KvCache::create(layers, options, sequences, tokens, Isa::reference);
    return made ? ErrorCode::ok : made.error().code;
  };
  const CacheOptions fine = cache_options(KvType::f32, 16);
  constexpr int kMax = std::numeric_limits<int>::max();
  CHECK(code(kTwoLayers, fine, 1, 1) == ErrorCode::ok);
  CHECK(code({}, fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code({{0, 8, 8, 0}}, fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code({{1, 0, 8, 0}}, fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code({{1, 8, -1, 0}}, fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code({{1, 8, 8, -1}}, fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code(kTwoLayers, fine, 0, 1) == ErrorCode::invalid_argument);
  CHECK(code(kTwoLayers, fine, 1, 0) == ErrorCode::invalid_argument);
  for (const int block_tokens : {-16, 0, 8, 24, 272})
    CHECK(code(kTwoLayers, cache_options(KvType::f32, block_tokens), 1, 1) == ErrorCode::invalid_argument);
  CHECK(code(kTwoLayers, cache_options(static_cast<KvType>(9), 16), 1, 1) == ErrorCode::invalid_argument);
  CHECK(code({{kMax, kMax, kMax, 0}}, fine, kMax, kMax) == ErrorCode::invalid_argument);
  CHECK(code(std::vector<KvLayerShape>(9, {kMax, kMax, kMax, 0}), fine, 1, 1) == ErrorCode::invalid_argument);
  CHECK(code(kTwoLayers, fine, kMax, kMax) != ErrorCode::ok);
  CHECK(code(kTwoLayers, cache_options(KvType::f32, 16, 1), 1, 1) == ErrorCode::invalid_argument);
  const size_t one_block_each = make_cache(kMixed, fine, 1, 16)->bytes_needed(1);
  CHECK(code(kMixed, cache_options(KvType::f32, 16, one_block_each - 1), 1, 16) == ErrorCode::invalid_argument);
  CHECK(code(kMixed, cache_options(KvType::f32, 16, one_block_each), 1, 16) == ErrorCode::ok);
}

TEST_CASE("kv_cache: more sequences than places is cache_full; unknown ones are empty, not undefined") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex a = *cache->add_sequence();
  CHECK(cache->add_sequence().ok());
  CHECK(cache->add_sequence().error().code == ErrorCode::cache_full);
  CHECK(cache->stats().n_sequences == 2);
  cache->release(a);
  cache->release(a);
  CHECK(cache->stats().n_sequences == 1);
  for (const SequenceIndex s : {a, -1, 2, std::numeric_limits<int>::max()}) {
    CHECK(cache->length(s) == 0);
    CHECK(cache->view(s, 0, 0).len == 0);
    CHECK(cache->copy_out(s, 0, 0, 0, nullptr, nullptr).error().code == ErrorCode::invalid_argument);
    CHECK(reserve_error(*cache, {{s, 1}}) == ErrorCode::invalid_argument);
  }
  CHECK(*cache->add_sequence() == a);
}

TEST_CASE("kv_cache: copy_out refuses slots and layers that aren't there") {
  auto cache = make_cache(kTwoLayers, cache_options(KvType::f32, 16), 2, 100);
  const SequenceIndex s = *cache->add_sequence();
  PlainCache plain(kTwoLayers);
  append(*cache, s, plain, 20, 2);
  std::vector<float> k(2 * 8 * 20);
  constexpr int kMax = std::numeric_limits<int>::max();
  CHECK(cache->copy_out(s, 0, 0, 20, k.data(), nullptr).ok());
  CHECK(cache->copy_out(s, 0, 20, 0, nullptr, nullptr).ok());
  for (const auto& [first, n] : {std::pair{0, 21}, {1, 20}, {21, 0}, {-1, 2}, {0, -1}, {kMax, kMax}, {1, kMax}})
    CHECK(cache->copy_out(s, 0, first, n, k.data(), nullptr).error().code == ErrorCode::invalid_argument);
  CHECK(cache->copy_out(s, 2, 0, 1, k.data(), nullptr).error().code == ErrorCode::invalid_argument);
  CHECK(cache->copy_out(s, -1, 0, 1, k.data(), nullptr).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("kv_cache: 100,000 sequences leave nothing behind") {
  auto cache = make_cache(kMixed, cache_options(KvType::f16, 16), 16, 256);
  std::vector<SequenceIndex> alive;
  for (int i = 0; i < 100000; ++i) {
    if (alive.size() == 16) {
      cache->release(alive[static_cast<size_t>(i) % 16]);
      alive.erase(alive.begin() + i % 16);
    }
    alive.push_back(*cache->add_sequence());
    const KvGrowth growth{alive.back(), i % 97 + 1};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE(slots.ok());
    if (i % 3 != 0) slots->commit();
  }
  for (const SequenceIndex s : alive) cache->release(s);
  CHECK(cache->check_invariants() == "");
  CHECK(same_stats(cache->stats(), CacheStats{}));
}

}  // namespace
}  // namespace decant::cache
