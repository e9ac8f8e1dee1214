// SPDX-License-Identifier: Apache-2.0

// What the rotation before q4 is for: a few loud channels, as trained models have them in their keys.

#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

constexpr int kDim = 64;
constexpr int kTokens = 200;
constexpr int kQueries = 40;

/// Keys with n_loud channels `loud` times the others, and queries that give them no more weight than those.
struct Planted {
  std::vector<float> k, q;

  Planted(int n_loud, float loud) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    const auto is_loud = [n_loud](int channel) { return channel % 23 == 7 && channel / 23 < n_loud; };
    for (int i = 0; i < kTokens * kDim; ++i) k.push_back(normal(random) * (is_loud(i % kDim) ? loud : 1.0F));
    for (int i = 0; i < kQueries * kDim; ++i) q.push_back(2.0F * normal(random) / (is_loud(i % kDim) ? loud : 1.0F));
  }
};

/// softmax(q Kᵀ / √d) in binary64.
std::vector<double> weights(const float* q, const std::vector<float>& keys) {
  std::vector<double> p(kTokens);
  double sum = 0;
  for (size_t j = 0; j < kTokens; ++j) {
    double s = 0;
    for (size_t c = 0; c < kDim; ++c) s += static_cast<double>(q[c]) * static_cast<double>(keys[j * kDim + c]);
    sum += p[j] = std::exp(s / std::sqrt(kDim));
  }
  for (double& x : p) x /= sum;
  return p;
}

/// Mean over queries of KL(weights over the keys ‖ weights over what a cache of the type keeps of them).
double mean_divergence(const Planted& planted, KvType type) {
  const std::vector<KvLayerShape> layers = {{.n_kv_heads = 1, .k_dim = kDim, .v_dim = kDim}};
  auto cache = test::make_cache(layers, test::cache_options(type, 64), 1, kTokens);
  const SequenceIndex s = *cache->add_sequence();
  const KvGrowth growth{s, kTokens};
  Result<KvReservation> slots = cache->reserve({&growth, 1});
  REQUIRE(slots.ok());
  for (int pos = 0; pos < kTokens; ++pos) {
    const float* row = planted.k.data() + static_cast<ptrdiff_t>(pos) * kDim;
    REQUIRE(cache->write(s, 0, pos, row, row));
  }
  slots->commit();
  std::vector<float> kept(planted.k.size());
  REQUIRE(cache->copy_out(s, 0, 0, kTokens, kept.data(), nullptr).ok());
  double sum = 0;
  for (int i = 0; i < kQueries; ++i) {
    const float* const q = planted.q.data() + static_cast<ptrdiff_t>(i) * kDim;
    const std::vector<double> p = weights(q, planted.k), r = weights(q, kept);
    for (size_t j = 0; j < kTokens; ++j) sum += p[j] * std::log(p[j] / r[j]);
  }
  return sum / kQueries;
}

TEST_CASE("kv_cache: with planted outlier channels rotated q4 diverges at most half as much as plain q4") {
  for (const int n_loud : {1, 2, 3})
    for (const float loud : {8.0F, 20.0F}) {
      CAPTURE(n_loud);
      CAPTURE(loud);
      const Planted planted(n_loud, loud);
      const double rotated = mean_divergence(planted, KvType::q4), plain = mean_divergence(planted, KvType::q4_plain);
      CAPTURE(rotated);
      CAPTURE(plain);
      CHECK(rotated > 0);
      CHECK(rotated <= plain / 2);
      CHECK(mean_divergence(planted, KvType::q8) <= rotated / 10);
    }
}

}  // namespace
}  // namespace decant::cache
