// SPDX-License-Identifier: Apache-2.0

// One thread changes a cache; in between many read it, attend over it, and write slots of their own. Under TSan this
// also shows that no two of them touch the same bytes.

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"
#include "tests/cache/schedule_model.h"

namespace decant::cache {
namespace {

using test::ModelSequence;

constexpr double kFrequencies[] = {1.0, 0.2};
const std::vector<KvLayerShape> kLayers = {
    {2, 8, 4, 0, false, kFrequencies, 1}, {1, 40, 33, 24}, {3, 4, 8, 0, false, kFrequencies, 0}};
constexpr int kThreads = 4;
constexpr int kMaxTokens = 300;

/// run(t) on every thread.
void on_threads(const std::function<void(int)>& run) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(run, t);
}

/// A cache and what it must hold.
struct Crowd {
  std::unique_ptr<KvCache> cache;
  test::RowMaker maker;
  std::map<SequenceIndex, ModelSequence> sequences;

  Crowd(KvType k_type, KvType v_type) : maker(kLayers, k_type, v_type) {
    CacheOptions options;
    options.k_type = k_type;
    options.v_type = v_type;
    options.block_tokens = 16;
    cache = test::make_cache(kLayers, options, 8, kMaxTokens);
  }

  /// Slots of a thread, interleaved so that neighbours share tiles and cache lines. False if a write is refused.
  bool write(int t, const std::map<SequenceIndex, int>& committed) const {
    bool fine = true;
    for (const auto& [s, model] : sequences)
      for (int l = 0; l < static_cast<int>(kLayers.size()); ++l)
        for (int pos = committed.at(s); pos < model.len(); ++pos) {
          const uint64_t hash = model.hashes[static_cast<size_t>(pos)];
          if (pos % kThreads == t)
            fine = cache->write(s, l, pos, maker.k(l, hash).data(), maker.v(l, hash).data()) && fine;
        }
    return fine;
  }

  /// Whether the committed slots of one sequence say what they must.
  bool read(SequenceIndex s, int committed) const {
    const ModelSequence& model = sequences.at(s);
    std::vector<float> k(40), v(40);
    for (int l = 0; l < static_cast<int>(kLayers.size()); ++l)
      for (int pos = cache->view(s, l, 0).first; pos < committed; ++pos) {
        const test::TokenRows& rows = *model.rows[static_cast<size_t>(pos)];
        const auto at = static_cast<size_t>(l);
        if (!cache->copy_out(s, l, pos, 1, k.data(), v.data()) ||
            std::memcmp(k.data(), rows.k[at].data(), rows.k[at].size() * sizeof(float)) != 0 ||
            std::memcmp(v.data(), rows.v[at].data(), rows.v[at].size() * sizeof(float)) != 0)
          return false;
      }
    return true;
  }

  /// Attention of one query at the last committed slot, over every layer and kv head.
  std::vector<float> attend_all(Isa isa, SequenceIndex s, int committed) const {
    std::vector<float> all;
    if (committed == 0) return all;
    for (int l = 0; l < static_cast<int>(kLayers.size()); ++l)
      for (int h = 0; h < kLayers[static_cast<size_t>(l)].n_kv_heads; ++h) {
        const KvView view = cache->view(s, l, h);
        const std::vector<float> q = maker.k(l, static_cast<uint64_t>(h));
        std::vector<float> out(static_cast<size_t>(view.v_dim));
        std::vector<float> scratch(attend_scratch_floats(1, view.k_dim, view.v_dim));
        AttentionQueries queries;
        queries.q = q.data();
        queries.out = out.data();
        queries.n_tokens = queries.n_group = 1;
        queries.first_pos = committed - 1;
        AttentionParams params;
        params.window = kLayers[static_cast<size_t>(l)].window;
        params.first_slot = view.first;  // of this query's window one slot may be gone: the next query needs it no more
        attend(isa, view, queries, params, scratch.data());
        all.insert(all.end(), out.begin(), out.end());
      }
    return all;
  }

  /// Grows every sequence by a few tokens of its own; written by all threads while they read what was there.
  void grow(int n, int round, bool commit) {
    std::vector<KvGrowth> growths;
    std::map<SequenceIndex, int> committed;
    for (auto& [s, model] : sequences) {
      committed[s] = model.len();
      growths.push_back({s, n + static_cast<int>(s) % 3});
      for (int i = 0; i < growths.back().n_tokens; ++i) model.append(1000 * static_cast<int>(s) + round, maker);
    }
    Result<KvReservation> slots = cache->reserve(growths);
    REQUIRE_MESSAGE(slots.ok(), slots.error().message);
    std::map<SequenceIndex, std::vector<float>> expected;
    for (const auto& [s, len] : committed) expected[s] = attend_all(Isa::reference, s, len);
    std::atomic<int> n_wrong{0};
    on_threads([&](int t) {
      for (const auto& [s, len] : committed)
        if (s % 2 == t % 2) n_wrong += !read(s, len);
      n_wrong += !write(t, committed);
    });
    // Attention reads whole tiles, so it waits for those who write to them.
    on_threads([&](int t) {
      const Isa isa = available_isas()[static_cast<size_t>(t) % available_isas().size()];
      for (const auto& [s, len] : committed) {
        if (s % 2 != t % 2) n_wrong += !read(s, len);
        n_wrong += attend_all(isa, s, len) != expected.at(s);
        n_wrong += cache->length(s) != len;
      }
      n_wrong += cache->stats().n_sequences != static_cast<int>(committed.size());
    });
    REQUIRE(n_wrong == 0);
    if (commit)
      slots->commit();
    else
      for (auto& [s, model] : sequences) model.cut(committed.at(s));
  }

  void check() const {
    REQUIRE(cache->check_invariants() == "");
    for (const auto& [s, model] : sequences) REQUIRE(test::same_contents(*cache, s, model, kLayers));
  }
};

TEST_CASE("kv_cache: many threads read, attend and write slots of their own between the changes of one") {
  const std::pair<KvType, KvType> types[] = {{KvType::f32, KvType::f32},     {KvType::f16, KvType::bf16},
                                             {KvType::q8, KvType::q8},       {KvType::q4, KvType::q4},
                                             {KvType::q8, KvType::q4_plain}, {KvType::q4_plain, KvType::f16}};
  for (const auto& [k_type, v_type] : types) {
    CAPTURE(std::string(to_string(k_type)));
    CAPTURE(std::string(to_string(v_type)));
    Crowd crowd(k_type, v_type);
    std::vector<int32_t> prompt(70);
    std::iota(prompt.begin(), prompt.end(), 0);
    const SequenceIndex first = *crowd.cache->add_sequence();
    crowd.sequences[first];
    for (int round = 0; round < 12; ++round) {
      crowd.grow(round % 4 * 5, round, round % 3 != 2);
      crowd.check();
      if (round % 3 == 0 && crowd.sequences.size() < 5) {
        const SequenceIndex fork = *crowd.cache->fork(first);
        crowd.sequences[fork] = crowd.sequences[first];
      }
      if (round % 3 == 1) {  // a sequence of the same text as others
        const SequenceIndex s = *crowd.cache->add_sequence();
        ModelSequence& model = crowd.sequences[s];
        const PrefixHit hit = crowd.cache->adopt_prefix(s, "", prompt);
        for (int i = 0; i < hit.n_tokens; ++i) model.append(prompt[static_cast<size_t>(i)], crowd.maker);
        KvGrowth growth{s, 70 - hit.n_tokens};
        Result<KvReservation> slots = crowd.cache->reserve({&growth, 1});
        REQUIRE(slots.ok());
        std::map<SequenceIndex, int> committed;
        for (const auto& [other, text] : crowd.sequences) committed[other] = text.len();
        for (int i = hit.n_tokens; i < 70; ++i) model.append(prompt[static_cast<size_t>(i)], crowd.maker);
        std::atomic<int> n_wrong{0};
        on_threads([&](int t) { n_wrong += !crowd.write(t, committed); });
        REQUIRE(n_wrong == 0);
        slots->commit();
        crowd.cache->publish_prefix(s, "", prompt, 0);
        if (round > 4) CHECK(hit.n_tokens >= 64);  // the end goes with the sequence that grows on from it
      }
      if (round == 7) {
        ModelSequence& model = crowd.sequences[first];
        REQUIRE(*crowd.cache->truncate(first, model.len() - 1) >= 0);
        model.cut(crowd.cache->length(first));
      }
      if (round == 9) {
        crowd.cache->release(first + 1);
        crowd.sequences.erase(first + 1);
      }
      crowd.check();
    }
  }
}

}  // namespace
}  // namespace decant::cache
