// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

const std::vector<KvLayerShape> kLayers = {{2, 8, 4, 0}, {1, 8, 8, 24}, {3, 4, 8, 0}};
constexpr int kThreads = 4;
constexpr int kSequences = 3;

// Each round: many threads write slots of their own, interleaved so that neighbours share tiles and cache lines, while
// all of them read what earlier rounds committed. Run under TSan this also shows that no two touch the same bytes.
TEST_CASE("kv_cache: distinct slots are written while views are read, by many threads") {
  for (const KvType type : {KvType::f32, KvType::f16}) {
    auto cache = test::make_cache(kLayers, test::cache_options(type, 16), kSequences, 300);
    std::vector<SequenceIndex> sequences;
    std::vector<test::PlainCache> plain;
    for (int i = 0; i < kSequences; ++i) {
      sequences.push_back(*cache->add_sequence());
      plain.emplace_back(kLayers);
    }
    for (int round = 0; round < 20; ++round) {
      std::vector<KvGrowth> growths;
      for (int i = 0; i < kSequences; ++i) growths.push_back({sequences[i], round % 4 * 5 + i});
      Result<KvReservation> slots = cache->reserve(growths);
      REQUIRE(slots.ok());
      for (int i = 0; i < kSequences; ++i)
        for (int n = 0; n < growths[i].n_tokens; ++n)
          plain[i].append(static_cast<unsigned>(plain[i].len() * kSequences + i));

      std::atomic<int> n_wrong{0};
      std::vector<std::thread> threads;
      for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
          std::vector<float> k(24), v(24);
          for (int i = 0; i < kSequences; ++i) {
            const int committed = cache->length(sequences[i]);
            for (int layer = 0; layer < static_cast<int>(kLayers.size()); ++layer) {
              for (int pos = committed; pos < plain[i].len(); ++pos)
                if (pos % kThreads == t &&
                    !cache->write(sequences[i], layer, pos, plain[i].k(layer, pos), plain[i].v(layer, pos)))
                  ++n_wrong;
              for (int pos = cache->view(sequences[i], layer, 0).first; pos < committed; ++pos)
                if (!cache->copy_out(sequences[i], layer, pos, 1, k.data(), v.data()) ||
                    k[0] != plain[i].k(layer, pos)[0] || v[0] != plain[i].v(layer, pos)[0])
                  ++n_wrong;
            }
          }
        });
      for (std::thread& thread : threads) thread.join();
      REQUIRE(n_wrong == 0);
      if (round % 3 != 2) {
        slots->commit();
      } else {
        for (int i = 0; i < kSequences; ++i) plain[i].cut(cache->length(sequences[i]));
        *slots = KvReservation();
      }
      REQUIRE(cache->check_invariants() == "");
      for (int i = 0; i < kSequences; ++i) REQUIRE(test::same_contents(*cache, sequences[i], plain[i], kLayers));
    }
  }
}

}  // namespace
}  // namespace decant::cache
