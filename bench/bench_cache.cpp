// SPDX-License-Identifier: Apache-2.0
// What the cache costs beside a naive one that concatenates: it keeps a contiguous array a layer and copies it for each
// new token, as `cache = concat(cache, new)` does. One token more at a length of n, and a walk over all K≤i and V≤i.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "decant/cache.h"

namespace {

using namespace decant;
using namespace decant::cache;

constexpr int kLayers = 2;
constexpr int kHeads = 4;
constexpr int kHeadDim = 64;
constexpr int kRow = kHeads * kHeadDim;
constexpr int kSlack = 8192;  // tokens appended before cutting back to n: 16 MiB, so new slabs are part of the time

std::unique_ptr<KvCache> cache_of(int n_tokens, SequenceIndex* sequence) {
  const std::vector<KvLayerShape> layers(kLayers, KvLayerShape{kHeads, kHeadDim, kHeadDim, 0});
  auto cache = KvCache::create(layers, CacheOptions{}, 2, n_tokens + kSlack, available_isas().back());
  if (!cache) return nullptr;
  *sequence = *(*cache)->add_sequence();
  const KvGrowth growth{*sequence, n_tokens};
  Result<KvReservation> slots = (*cache)->reserve({&growth, 1});
  if (!slots) return nullptr;
  const std::vector<float> row(kRow, 0.5F);
  for (int pos = 0; pos < n_tokens; ++pos)
    for (int layer = 0; layer < kLayers; ++layer) (*cache)->write(*sequence, layer, pos, row.data(), row.data());
  slots->commit();
  return std::move(*cache);
}

int64_t cache_bytes(int n) { return int64_t{n} * kRow * kLayers * 2 * 2; }

void append_blocks(benchmark::State& state) {
  const int n = static_cast<int>(state.range(0));
  SequenceIndex sequence = 0;
  const auto cache = cache_of(n, &sequence);
  if (!cache) return state.SkipWithError("no memory");
  const std::vector<float> row(kRow, 0.25F);
  const KvGrowth growth{sequence, 1};
  for (auto _ : state) {
    if (cache->length(sequence) == n + kSlack && !cache->truncate(sequence, n)) return state.SkipWithError("truncate");
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    if (!slots) return state.SkipWithError("reserve");
    const int pos = cache->length(sequence);
    for (int layer = 0; layer < kLayers; ++layer) cache->write(sequence, layer, pos, row.data(), row.data());
    slots->commit();
  }
}

void append_concatenating(benchmark::State& state) {
  const auto n = static_cast<size_t>(state.range(0));
  using Rows = std::vector<uint16_t>;
  std::vector<Rows> arrays(2 * kLayers, Rows(n * kRow, 1));  // K and V a layer
  const Rows row(kRow, 2);
  for (auto _ : state)
    for (Rows& rows : arrays) {
      Rows longer(rows.size() + kRow);
      std::memcpy(longer.data(), rows.data(), rows.size() * sizeof(uint16_t));
      std::memcpy(longer.data() + rows.size(), row.data(), kRow * sizeof(uint16_t));
      rows = std::move(longer);
    }
}

// Sums words so that each byte is read once.
uint64_t sum_words(const std::byte* data, size_t bytes) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + sizeof(sums) <= bytes; i += sizeof(sums)) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof(words));
    for (int lane = 0; lane < 8; ++lane) sums[lane] += words[lane];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

void walk_view(benchmark::State& state) {
  const int n = static_cast<int>(state.range(0));
  SequenceIndex sequence = 0;
  const auto cache = cache_of(n, &sequence);
  if (!cache) return state.SkipWithError("no memory");
  constexpr size_t kTileBytes = size_t{kHeadDim} * 16 * 2;
  for (auto _ : state) {
    uint64_t sum = 0;
    for (int layer = 0; layer < kLayers; ++layer)
      for (int head = 0; head < kHeads; ++head) {
        const KvView view = cache->view(sequence, layer, head);
        for (int chunk = 0; chunk * kChunkTokens < view.len; ++chunk) {  // as attention reads: K, then V
          const int first = chunk * kChunkTokens / kTileTokens;
          for (int tile = first; tile < first + kChunkTokens / kTileTokens; ++tile)
            sum += sum_words(view.k_tile(tile), kTileBytes);
          for (int tile = first; tile < first + kChunkTokens / kTileTokens; ++tile)
            sum += sum_words(view.v_tile(tile), kTileBytes);
        }
      }
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * cache_bytes(n));
}

void walk_contiguous(benchmark::State& state) {
  const auto n = static_cast<size_t>(state.range(0));
  const std::vector<std::vector<uint16_t>> arrays(2 * kLayers, std::vector<uint16_t>(n * kRow, 1));
  for (auto _ : state) {
    uint64_t sum = 0;
    for (const auto& rows : arrays)
      sum += sum_words(reinterpret_cast<const std::byte*>(rows.data()), rows.size() * sizeof(uint16_t));
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * cache_bytes(static_cast<int>(n)));
}

void fork_and_release(benchmark::State& state) {
  SequenceIndex sequence = 0;
  const auto cache = cache_of(static_cast<int>(state.range(0)), &sequence);
  if (!cache) return state.SkipWithError("no memory");
  for (auto _ : state) {
    Result<SequenceIndex> fork = cache->fork(sequence);
    if (!fork) return state.SkipWithError("fork");
    cache->release(*fork);
  }
}

std::vector<int32_t> token_ids(int n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % 32000);
  return ids;
}

// A prompt of n tokens that is known all but its last: found, taken over, let go.
void look_up_prefix(benchmark::State& state) {
  const int n = static_cast<int>(state.range(0));
  SequenceIndex sequence = 0;
  const auto cache = cache_of(n, &sequence);
  if (!cache) return state.SkipWithError("no memory");
  const std::vector<int32_t> ids = token_ids(n);
  cache->publish_prefix(sequence, "", ids, 0);
  for (auto _ : state) {
    const SequenceIndex other = *cache->add_sequence();
    const PrefixHit hit = cache->adopt_prefix(other, "", std::span(ids).first(ids.size() - 1));
    if (hit.n_tokens != n - 1) return state.SkipWithError("not known");
    cache->release(other);
  }
}

std::string snapshot_path() { return (std::filesystem::temp_directory_path() / "decant-bench-cache.kv").string(); }

// Written, synced and renamed: the disk is part of it.
void save(benchmark::State& state) {
  const int n = static_cast<int>(state.range(0));
  SequenceIndex sequence = 0;
  const auto cache = cache_of(n, &sequence);
  if (!cache) return state.SkipWithError("no memory");
  for (auto _ : state)
    if (!cache->save(sequence, snapshot_path(), {}, {})) return state.SkipWithError("save");
  state.SetBytesProcessed(state.iterations() * cache_bytes(n));
  std::filesystem::remove(snapshot_path());
}

// Read from the page cache, every checksum compared.
void restore(benchmark::State& state) {
  const int n = static_cast<int>(state.range(0));
  SequenceIndex sequence = 0;
  const auto cache = cache_of(n, &sequence);
  if (!cache || !cache->save(sequence, snapshot_path(), {}, {})) return state.SkipWithError("save");
  for (auto _ : state) {
    const Result<RestoredSequence> restored = cache->restore(snapshot_path(), {});
    if (!restored) return state.SkipWithError("restore");
    cache->release(restored->sequence);
  }
  state.SetBytesProcessed(state.iterations() * cache_bytes(n));
  std::filesystem::remove(snapshot_path());
}

constexpr int kShort = 1 << 10, kLong = 1 << 17;
BENCHMARK(append_blocks)->RangeMultiplier(8)->Range(kShort, kLong);
BENCHMARK(append_concatenating)->RangeMultiplier(8)->Range(kShort, kLong);
BENCHMARK(fork_and_release)->RangeMultiplier(8)->Range(kShort, kLong);
BENCHMARK(look_up_prefix)->RangeMultiplier(8)->Range(kShort, kLong);
BENCHMARK(save)->RangeMultiplier(8)->Range(kShort, kLong)->UseRealTime();
BENCHMARK(restore)->RangeMultiplier(8)->Range(kShort, kLong)->UseRealTime();
BENCHMARK(walk_view)->RangeMultiplier(8)->Range(kShort, kLong);
BENCHMARK(walk_contiguous)->RangeMultiplier(8)->Range(kShort, kLong);

}  // namespace

BENCHMARK_MAIN();
