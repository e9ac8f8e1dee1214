// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/bootstrap.h"

#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include <doctest/doctest.h>

namespace decant::profile {
namespace {

constexpr double kMedian = 0.5;

/// Latencies around `ms`. Integers of a generator that the standard defines to the bit, so that a trial is the same
/// everywhere.
class Latencies {
 public:
  explicit Latencies(uint64_t seed) : generator_(seed) {}

  /// noise: standard deviation of a token; drift: of a whole round.
  Rounds rounds(double ms, int n_rounds, int n_tokens, double noise, double drift = 0.0) {
    Rounds all;
    for (int round = 0; round < n_rounds; ++round) {
      const double pace = 1.0 + drift * normal();
      all.emplace_back();
      for (int i = 0; i < n_tokens; ++i) all.back().push_back(ms * pace * (1.0 + noise * normal()));
    }
    return all;
  }

 private:
  /// About normal: twelve uniform numbers have the variance 1.
  double normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += std::ldexp(static_cast<double>(generator_() >> 11), -53);
    return sum;
  }

  std::mt19937_64 generator_;
};

Rounds scaled(Rounds rounds, double factor) {
  for (std::vector<double>& round : rounds)
    for (double& value : round) value *= factor;
  return rounds;
}

}  // namespace

TEST_CASE("bootstrap: identical data never differ") {
  Latencies latencies(1);
  for (const int n_rounds : {1, 2, 3, 7})
    for (const int n_tokens : {1, 2, 10, 100}) {
      CAPTURE(n_rounds);
      CAPTURE(n_tokens);
      const Rounds data = latencies.rounds(7.0, n_rounds, n_tokens, 0.05, 0.05);
      for (const std::optional<double> q : {std::optional(kMedian), std::optional(0.99), std::optional<double>()}) {
        const RatioInterval same = ratio_interval(data, data, q);
        CHECK(same.ratio == 1.0);
        CHECK(same.low <= 1.0);
        CHECK(same.high >= 1.0);
        CHECK(!same.differs());
      }
    }
}

TEST_CASE("bootstrap: 5 % beside 1 % of noise is a difference, in either direction") {
  Latencies latencies(2);
  const Rounds a = latencies.rounds(7.0, 3, 200, 0.01), b = latencies.rounds(7.0 * 1.05, 3, 200, 0.01);
  for (const std::optional<double> q : {std::optional(kMedian), std::optional<double>()}) {
    const RatioInterval slower = ratio_interval(a, b, q), faster = ratio_interval(b, a, q);
    CHECK(slower.enough);
    CHECK(slower.differs());
    CHECK(slower.low > 1.03);
    CHECK(slower.high < 1.07);
    CHECK(slower.ratio == doctest::Approx(1.05).epsilon(0.005));
    CHECK(slower.ratio == slower.b / slower.a);
    CHECK(faster.differs());
    CHECK(faster.high < 0.97);
  }
}

TEST_CASE("bootstrap: 5 % is none where rounds drift by as much") {
  Latencies latencies(3);
  const Rounds a = latencies.rounds(7.0, 3, 200, 0.01, 0.05),
               b = scaled(latencies.rounds(7.0, 3, 200, 0.01, 0.05), 1.05);
  const RatioInterval interval = ratio_interval(a, b, kMedian);
  CHECK(interval.enough);
  CHECK(!interval.differs());
}

TEST_CASE("bootstrap: the interval holds the true ratio about as often as it says") {
  struct Case {
    int n_rounds, n_tokens;
    double noise, drift;
  };
  constexpr int kTrials = 200;
  for (const Case& c : {Case{3, 64, 0.01, 0.0}, Case{3, 64, 0.01, 0.01}, Case{6, 30, 0.02, 0.01},
                        Case{1, 150, 0.02, 0.0}, Case{5, 1, 0.01, 0.0}}) {
    CAPTURE(c.n_rounds);
    CAPTURE(c.n_tokens);
    CAPTURE(c.drift);
    Latencies latencies(4);
    int held = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const Rounds a = latencies.rounds(7.0, c.n_rounds, c.n_tokens, c.noise, c.drift);
      const Rounds b = latencies.rounds(7.0 * 0.9, c.n_rounds, c.n_tokens, c.noise, c.drift);
      const RatioInterval interval = ratio_interval(a, b, kMedian);
      held += interval.low <= 0.9 && 0.9 <= interval.high ? 1 : 0;
      CHECK(interval.low <= interval.ratio);
      CHECK(interval.ratio <= interval.high);
    }
    CHECK(held >= kTrials * 85 / 100);
  }
}

TEST_CASE("bootstrap: too few samples give the ratio alone and no difference") {
  const RatioInterval single = ratio_interval({{7.0}}, {{14.0}}, kMedian);
  CHECK(!single.enough);
  CHECK(!single.differs());
  CHECK(single.ratio == 2.0);
  CHECK(std::pair(single.low, single.high) == std::pair(2.0, 2.0));

  // The 99th percentile of 64 tokens is the slowest of them.
  Latencies latencies(5);
  const Rounds a = latencies.rounds(7.0, 1, 64, 0.01), b = latencies.rounds(9.0, 1, 64, 0.01);
  CHECK(ratio_interval(a, b, kMedian).differs());
  CHECK(!ratio_interval(a, b, 0.99).enough);
}

TEST_CASE("bootstrap: samples that are no latencies tell nothing") {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const Rounds good = {{7.0, 7.1, 7.2}};
  for (const Rounds& bad : {Rounds{}, Rounds{{}}, Rounds{{7.0, 0.0}}, Rounds{{7.0, -1.0}}, Rounds{{7.0, kInfinite}}}) {
    CHECK(!ratio_interval(good, bad, kMedian).enough);
    CHECK(!ratio_interval(bad, good, kMedian).enough);
  }
  CHECK(ratio_interval({{}, {7.0, 7.1, 7.2}}, good, kMedian).ratio == 1.0);
}

TEST_CASE("bootstrap: the same data give the same bits, and many samples are thinned") {
  Latencies latencies(6);
  const Rounds a = latencies.rounds(7.0, 2, 40'000, 0.02), b = latencies.rounds(6.9, 2, 40'000, 0.02);
  const RatioInterval one = ratio_interval(a, b, kMedian), two = ratio_interval(a, b, kMedian);
  CHECK(std::pair(one.low, one.high) == std::pair(two.low, two.high));
  CHECK(one.ratio == doctest::Approx(6.9 / 7.0).epsilon(0.002));
}

}  // namespace decant::profile
