// SPDX-License-Identifier: Apache-2.0

// What a cache asks operator new for, and what becomes of it where it gets nothing.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"
#include "tests/cache/schedule_model.h"
#include "tests/support/failing_new.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

using test::ModelSequence;

constexpr double kFrequencies[] = {1.0, 0.1};
const std::vector<KvLayerShape> kLayers = {{2, 8, 8, 24, false, kFrequencies, 2},
                                           {1, 12, 8, 0, false, kFrequencies, 0}};
const SnapshotIdentity kIdentity = {"a model", "the fingerprint of its weights, longer than a short string", "exact"};
constexpr int kMaxSequences = 6;
constexpr int kMaxTokens = 4000;
constexpr int kRoomy = 700;

/// A cache with something of everything in it.
struct World {
  std::unique_ptr<KvCache> cache;
  test::RowMaker maker{kLayers, KvType::q8, KvType::f16};
  std::vector<ModelSequence> models{kMaxSequences};
  SequenceIndex published = 0, fork = 0, with_sinks = 0, empty = 0;

  /// The limit is what a sequence of so many tokens needs, which makes slabs small.
  explicit World(int limit_tokens = kRoomy) {
    CacheOptions options = test::cache_options(KvType::f16, 16);
    options.k_type = KvType::q8;
    options.limit_bytes = test::make_cache(kLayers, options, 1, kMaxTokens)->bytes_needed(limit_tokens);
    cache = test::make_cache(kLayers, options, kMaxSequences, kMaxTokens);
    const SequenceIndex known = *cache->add_sequence();
    models[static_cast<size_t>(known)].salt = "known";
    append(known, 50);
    publish(known);
    cache->release(known);
    models[static_cast<size_t>(known)] = {};
    published = *cache->add_sequence();
    append(published, 90);
    publish(published);
    fork = *cache->fork(published);
    model(fork) = model(published);
    with_sinks = *cache->add_sequence();
    REQUIRE(cache->keep_sinks(with_sinks, 3).ok());
    append(with_sinks, 80);
    for (int pos = 0; pos < 3; ++pos)
      for (int l = 0; l < 2; ++l)
        cache->write_sink(with_sinks, l, pos, maker.sink_key(l, static_cast<uint64_t>(pos)).data());
    empty = *cache->add_sequence();
  }

  ModelSequence& model(SequenceIndex s) { return models[static_cast<size_t>(s)]; }
  void append(SequenceIndex s, int n) {
    const KvGrowth growth{s, n};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE_MESSAGE(slots.ok(), slots.error().message);
    for (int i = 0; i < n; ++i) {
      model(s).append(i, maker);
      for (int l = 0; l < 2; ++l) {
        const uint64_t hash = model(s).hashes.back();
        REQUIRE(cache->write(s, l, i, maker.k(l, hash).data(), maker.v(l, hash).data()));
      }
    }
    slots->commit();
  }
  void publish(SequenceIndex s) { cache->publish_prefix(s, model(s).salt, model(s).ids, 1); }

  /// Whether all is as it was; beside_counters: look-ups are counted, even those that find no memory.
  void check_unchanged(CacheStats before, bool beside_counters) {
    CHECK(cache->check_invariants() == "");
    const CacheStats now = cache->stats();
    if (beside_counters) before.prefixes.n_lookups = now.prefixes.n_lookups;
    if (beside_counters) before.prefixes.n_asked_tokens = now.prefixes.n_asked_tokens;
    CHECK(test::same_stats(now, before));
    for (const SequenceIndex s : {published, fork, with_sinks, empty})
      CHECK(test::same_contents(*cache, s, model(s), kLayers));
  }
};

std::string name(ErrorCode code) { return to_string(code); }
ErrorCode code_of(const Status& status) { return status ? ErrorCode::ok : status.error().code; }
template <typename T>
ErrorCode code_of(const Result<T>& result) {
  return result ? ErrorCode::ok : result.error().code;
}

/// Runs `call` on a new world with its n-th allocation failing, for every n. Each time it must say out_of_memory, or
/// `check` that what it says instead is right; leave the world as it was; and leak nothing. With enough memory it says
/// `expected`.
template <typename Call, typename Check>
void fail_each_allocation(ErrorCode expected, Call&& call, Check&& check, int limit_tokens = kRoomy) {
  for (int64_t n = 0;; ++n) {
    CAPTURE(n);
    REQUIRE(n < 10000);
    const int64_t n_live = test::n_live_allocations();
    bool failed = false;
    {
      World world(limit_tokens);
      const CacheStats before = world.cache->stats();
      ErrorCode code = ErrorCode::ok;
      {
        const test::FailingNew failing(n);
        code = call(world);
        failed = failing.failed();
      }
      CHECK(world.cache->check_invariants() == "");
      if (failed)
        check(world, before, code);
      else
        REQUIRE(name(code) == name(expected));
    }
    REQUIRE(test::n_live_allocations() == n_live);
    if (failed) continue;
    CHECK(n > 0);
    return;
  }
}

const auto kRefused = [](World& world, const CacheStats& before, ErrorCode code) {
  CHECK(name(code) == name(ErrorCode::out_of_memory));
  world.check_unchanged(before, false);
};

template <typename Call>
void fail_each_allocation(ErrorCode expected, Call&& call) {
  fail_each_allocation(expected, call, kRefused);
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("kv_cache: reserving, writing, committing, rolling back and truncating allocate nothing but slabs") {
  auto cache = test::make_cache(kLayers, test::cache_options(KvType::f16, 16), 3, 4000);
  const std::vector<float> row(16, 1.0F);
  int64_t n_with_slab = 0, n_without = 0;
  for (int round = 0; round < 2; ++round) {
    const int64_t before_add = test::n_allocations();
    const SequenceIndex s[] = {*cache->add_sequence(), *cache->add_sequence()};
    CHECK(test::n_allocations() == before_add);
    for (int i = 0; i < 2000; ++i) {
      const KvGrowth growths[] = {{s[0], 2}, {s[1], i % 2}};
      const size_t reserved = cache->stats().reserved_bytes;
      const int64_t before = test::n_allocations();
      bool slab = false;
      {
        Result<KvReservation> slots = cache->reserve(growths);
        REQUIRE(slots.ok());
        slab = cache->stats().reserved_bytes > reserved;
        REQUIRE(cache->write(s[0], 0, cache->length(s[0]), row.data(), row.data()));
        if (i % 7 != 0) slots->commit();
      }
      // At this place in a block no window has just given one back.
      if (cache->length(s[0]) % 16 == 8) REQUIRE(*cache->truncate(s[0], cache->length(s[0]) - 1) > 0);
      (slab ? n_with_slab : n_without) += test::n_allocations() - before;
    }
    const int64_t before_release = test::n_allocations();
    for (const SequenceIndex sequence : s) cache->release(sequence);
    CHECK(test::n_allocations() == before_release);
  }
  CHECK(n_with_slab > 0);
  CHECK(n_without == 0);
}

TEST_CASE("kv_cache: each allocation of create() that fails is out_of_memory") {
  for (int64_t n = 0;; ++n) {
    const int64_t n_live = test::n_live_allocations();
    ErrorCode code = ErrorCode::ok;
    bool failed = false;
    {
      const test::FailingNew failing(n);
      code = code_of(KvCache::create(kLayers, CacheOptions(), 3, 4000, Isa::reference));
      failed = failing.failed();
    }
    REQUIRE(test::n_live_allocations() == n_live);
    REQUIRE(name(code) == name(failed ? ErrorCode::out_of_memory : ErrorCode::ok));
    if (failed) continue;
    CHECK(n > 5);
    return;
  }
}

TEST_CASE("kv_cache: each allocation of a growth that fails is an error, and nothing has changed") {
  for (const int n_tokens : {100, 200})
    fail_each_allocation(ErrorCode::ok, [&](World& world) {
      const KvGrowth growths[] = {{world.fork, 3}, {world.published, n_tokens}, {world.empty, 20}};
      return code_of(world.cache->reserve(growths));
    });
  fail_each_allocation(ErrorCode::invalid_argument, [](World& world) {
    const KvGrowth growths[] = {{world.published, 10}, {world.fork, 1 << 30}};
    return code_of(world.cache->reserve(growths));
  });
}

TEST_CASE("kv_cache: each allocation of a growth that fails leaves sequences alone, whatever had to make way for it") {
  bool made_way = false;
  fail_each_allocation(
      ErrorCode::ok,
      [](World& world) {
        const KvGrowth growths[] = {{world.published, 20}, {world.empty, 90}};
        return code_of(world.cache->reserve(growths));
      },
      [&](World& world, const CacheStats& before, ErrorCode code) {
        CHECK(name(code) == name(ErrorCode::out_of_memory));
        CHECK(world.cache->stats().unique_bytes + world.cache->stats().shared_bytes ==
              before.unique_bytes + before.shared_bytes);
        made_way = made_way || world.cache->stats().prefix_bytes < before.prefix_bytes;
        world.check_unchanged(world.cache->stats(), false);
      },
      280);
  CHECK(made_way);
}

TEST_CASE("kv_cache: each allocation of a change that fails is an error, and nothing has changed") {
  fail_each_allocation(ErrorCode::ok,
                       [](World& world) { return code_of(world.cache->remove(world.published, 75, 3)); });
  fail_each_allocation(ErrorCode::ok, [](World& world) { return code_of(world.cache->remove(world.fork, 70, 1)); });
  fail_each_allocation(ErrorCode::ok, [](World& world) { return code_of(world.cache->slide(world.with_sinks, 60)); });
  fail_each_allocation(ErrorCode::ok, [](World& world) {
    const Result<SequenceIndex> fork = world.cache->fork(world.with_sinks);
    if (!fork) return fork.error().code;
    const ErrorCode code = code_of(world.cache->slide(*fork, 60));
    world.cache->release(*fork);
    return code;
  });
}

TEST_CASE("kv_cache: an error whose message finds no memory is out_of_memory, and nothing has changed") {
  const auto fails = [](auto call) { fail_each_allocation(ErrorCode::invalid_argument, call); };
  fails([](World& world) { return code_of(world.cache->fork(kMaxSequences)); });
  fails([](World& world) { return code_of(world.cache->truncate(world.published, 91)); });
  fails([](World& world) { return code_of(world.cache->remove(world.published, 5, 80)); });  // beyond the window
  fails([](World& world) { return code_of(world.cache->remove(world.with_sinks, 70, 1)); });
  fails([](World& world) { return code_of(world.cache->keep_sinks(world.published, 2)); });
  fails([](World& world) { return code_of(world.cache->slide(world.with_sinks, 2)); });
  fails([](World& world) { return code_of(world.cache->copy_out(world.published, 1, 0, 91, nullptr, nullptr)); });
  fail_each_allocation(ErrorCode::cache_full, [](World& world) {
    const Result<SequenceIndex> fifth = world.cache->add_sequence(), sixth = world.cache->add_sequence();
    const Result<SequenceIndex> seventh = world.cache->add_sequence();
    if (sixth) world.cache->release(*sixth);
    if (fifth) world.cache->release(*fifth);
    return code_of(seventh);
  });
}

TEST_CASE("kv_cache: each allocation of a look-up that fails is a miss for want of memory") {
  std::vector<int32_t> ids(90);
  for (int i = 0; i < 90; ++i) ids[static_cast<size_t>(i)] = i;
  PrefixHit hit;
  fail_each_allocation(
      ErrorCode::ok,
      [&](World& world) {
        hit = world.cache->adopt_prefix(world.empty, "", ids);
        return hit.n_tokens == 90 ? ErrorCode::ok : ErrorCode::out_of_memory;
      },
      [&](World& world, const CacheStats& before, ErrorCode) {
        CHECK(hit.why == PrefixMiss::no_memory);
        CHECK(hit.n_tokens % 16 == 0);  // what needs no copy, or nothing
        CHECK(*world.cache->truncate(world.empty, 0) == 0);
        CacheStats expected = before;
        expected.prefixes.n_hits = world.cache->stats().prefixes.n_hits;
        expected.prefixes.n_hit_tokens = world.cache->stats().prefixes.n_hit_tokens;
        world.check_unchanged(expected, true);
      });
}

TEST_CASE("kv_cache: each allocation of publishing that fails leaves unknown what was") {
  fail_each_allocation(
      ErrorCode::ok,
      [](World& world) {
        world.cache->publish_prefix(world.fork, "a tenant with a name that is too long to lie in a string itself",
                                    world.model(world.fork).ids, 3);
        return ErrorCode::ok;
      },
      [](World& world, const CacheStats& before, ErrorCode) { world.check_unchanged(before, false); });
}

TEST_CASE("kv_cache: each allocation of a save that fails is an error, and the old file stays alone") {
  const test::TempDir folder;
  const std::string path = folder.path("a file whose name is too long to lie in a string itself.kv");
  const std::byte payload[100] = {};
  for (const bool prefixes : {false, true}) {
    folder.write("a file whose name is too long to lie in a string itself.kv", "old");
    fail_each_allocation(
        ErrorCode::ok,
        [&](World& world) {
          return code_of(prefixes ? world.cache->save_prefixes(path, kIdentity)
                                  : world.cache->save(world.with_sinks, path, kIdentity, payload));
        },
        [&](World& world, const CacheStats& before, ErrorCode code) {
          kRefused(world, before, code);
          CHECK(bytes_of(path) == "old");
          CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
        });
    CHECK(bytes_of(path).size() > 4096);
  }
}

TEST_CASE("kv_cache: each allocation of a restoring that fails is an error, and nothing was restored") {
  const test::TempDir folder;
  const std::string path = folder.path("a file whose name is too long to lie in a string itself.kv");
  const std::vector<std::byte> payload(100, std::byte{7});
  REQUIRE(World().cache->save(2, path, kIdentity, payload).ok());
  fail_each_allocation(ErrorCode::ok, [&](World& world) { return code_of(world.cache->restore(path, kIdentity)); });
  World world;
  const Result<RestoredSequence> restored = world.cache->restore(path, kIdentity);
  REQUIRE(restored.ok());
  CHECK(restored->payload == payload);
  CHECK(test::same_contents(*world.cache, restored->sequence, world.model(2), kLayers));
}

TEST_CASE("kv_cache: each allocation of restoring prefixes that fails is an error, and no sequence has changed") {
  const test::TempDir folder;
  const std::string path = folder.path("a file whose name is too long to lie in a string itself.kv");
  REQUIRE(World().cache->save_prefixes(path, kIdentity).ok());
  std::vector<int32_t> ids(50);
  for (int i = 0; i < 50; ++i) ids[static_cast<size_t>(i)] = i;
  int n_partial = 0;
  fail_each_allocation(
      ErrorCode::ok,
      [&](World& world) {
        world.cache->forget_prefixes();
        return code_of(world.cache->restore_prefixes(path, kIdentity));
      },
      [&](World& world, const CacheStats& before, ErrorCode code) {
        CHECK(name(code) == name(ErrorCode::out_of_memory));
        CHECK(world.cache->stats().unique_bytes + world.cache->stats().shared_bytes ==
              before.unique_bytes + before.shared_bytes);
        n_partial += world.cache->stats().prefixes.n_nodes > 0;
        // What has come in before is right.
        ModelSequence& model = world.model(world.empty);
        model.salt = "known";
        const PrefixHit hit = world.cache->adopt_prefix(world.empty, model.salt, ids);
        for (int i = 0; i < hit.n_tokens; ++i) model.append(ids[static_cast<size_t>(i)], world.maker);
        world.check_unchanged(world.cache->stats(), false);
      });
  CHECK(n_partial > 0);
}

}  // namespace
}  // namespace decant::cache
