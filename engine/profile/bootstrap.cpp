// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

namespace decant::profile {
namespace {

constexpr int kResamples = 2000;
constexpr size_t kMostSamples = 32768;
constexpr double kTail = 0.025;  ///< on either side of the interval

/// SplitMix64 (Steele, Lea & Flood 2014): a counter, mixed.
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}

  /// 0 ≤ result < n, n below 2³².
  size_t below(size_t n) { return static_cast<size_t>(((next() >> 32) * uint64_t{n}) >> 32); }

 private:
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

/// One side. A resample is how often each sample was drawn, the samples in ascending order: its quantile is then found
/// by counting, without a copy or a partial sort.
class Side {
 public:
  Side(const Rounds& rounds, std::optional<double> q) : q_(q) {
    const size_t total = std::accumulate(rounds.begin(), rounds.end(), size_t{0},
                                         [](size_t n, const std::vector<double>& round) { return n + round.size(); });
    const size_t stride = (total + kMostSamples - 1) / kMostSamples;
    for (const std::vector<double>& round : rounds) {
      if (round.empty()) continue;
      begins_.push_back(values_.size());
      for (size_t i = 0; i < round.size(); i += stride) values_.push_back(round[i]);
    }
    begins_.push_back(values_.size());

    std::vector<uint32_t> order(values_.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t i, uint32_t j) { return values_[i] < values_[j]; });
    rank_.resize(values_.size());
    for (size_t i = 0; i < order.size(); ++i) rank_[order[i]] = static_cast<uint32_t>(i);
    std::sort(values_.begin(), values_.end());
    counts_.resize(values_.size());
  }

  size_t n_rounds() const noexcept { return begins_.size() - 1; }
  size_t n_samples() const noexcept { return values_.size(); }
  bool usable() const noexcept { return !values_.empty() && values_.front() > 0.0 && std::isfinite(values_.back()); }

  /// Of the samples as they are.
  double figure() {
    std::fill(counts_.begin(), counts_.end(), 1U);
    return of_counts(values_.size());
  }

  /// Of a resample.
  double draw(Generator& generator) {
    std::fill(counts_.begin(), counts_.end(), 0U);
    size_t drawn = 0;
    for (size_t i = 0; i < n_rounds(); ++i) drawn += draw_round(generator, generator.below(n_rounds()));
    return of_counts(drawn);
  }

 private:
  /// Blocks of neighbours, as many as fill the round; a block that passes the round's end goes on at its begin, so that
  /// every token is as likely as any other.
  size_t draw_round(Generator& generator, size_t round) {
    const size_t begin = begins_[round], n = begins_[round + 1] - begin;
    const auto block = static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(n))));
    for (size_t done = 0; done < n;) {
      size_t at = generator.below(n);
      for (const size_t end = std::min(done + block, n); done < end; ++done) {
        ++counts_[rank_[begin + at]];
        if (++at == n) at = 0;
      }
    }
    return n;
  }

  double of_counts(size_t drawn) const {
    if (!q_) {
      double sum = 0.0;
      for (size_t i = 0; i < values_.size(); ++i) sum += counts_[i] * values_[i];
      return sum / static_cast<double>(drawn);
    }
    const auto wanted = std::min(static_cast<size_t>(*q_ * static_cast<double>(drawn)), drawn - 1);
    size_t below = 0, i = 0;
    while ((below += counts_[i]) <= wanted) ++i;
    return values_[i];
  }

  std::optional<double> q_;
  std::vector<double> values_;    ///< ascending
  std::vector<uint32_t> rank_;    ///< of each sample, round after round, in values_
  std::vector<uint32_t> counts_;  ///< of each of values_
  std::vector<size_t> begins_;    ///< of each round in rank_, and the end of the last
};

/// Student's t that 2.5 % lie above, for n degrees of freedom.
double student_t(size_t n) {
  constexpr double kTable[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  if (n <= std::size(kTable)) return kTable[n - 1];
  return 1.960 + 2.5 / static_cast<double>(n);  // within 0.02 from eleven on
}

/// How much wider than the bootstrap's the interval must be.
double widening(size_t rounds_a, size_t rounds_b) {
  const size_t fewer = std::min(rounds_a, rounds_b);
  if (fewer < 2) return 1.0;
  const auto k = static_cast<double>(fewer);
  return std::sqrt(k / (k - 1.0)) * student_t(rounds_a + rounds_b - 2) / 1.960;
}

/// Whether the samples reach beyond the quantile: with fewer, all of them may well lie on one side of it.
bool reaches(const Side& side, std::optional<double> q) {
  if (!q) return true;
  const double inner = std::max(*q, 1.0 - *q);
  return static_cast<double>(side.n_samples()) * (1.0 - inner) >= 1.0;
}

}  // namespace

RatioInterval ratio_interval(const Rounds& a, const Rounds& b, std::optional<double> q) {
  RatioInterval interval;
  Side side_a(a, q), side_b(b, q);
  if (!side_a.usable() || !side_b.usable()) return interval;
  interval.a = side_a.figure();
  interval.b = side_b.figure();
  interval.ratio = interval.low = interval.high = interval.b / interval.a;
  if (side_a.n_samples() < 2 || side_b.n_samples() < 2 || !reaches(side_a, q) || !reaches(side_b, q)) return interval;

  Generator generator(1);
  std::vector<double> logs(kResamples);
  for (double& log : logs) {
    const double drawn_a = side_a.draw(generator);
    log = std::log(side_b.draw(generator) / drawn_a);
  }
  std::sort(logs.begin(), logs.end());
  constexpr auto kOut = static_cast<size_t>(kTail * kResamples);
  const double point = std::log(interval.ratio), wider = widening(side_a.n_rounds(), side_b.n_rounds());
  const auto edge = [&](double log) { return std::exp(point + wider * (log - point)); };
  interval.low = std::min(interval.ratio, edge(logs[kOut]));
  interval.high = std::max(interval.ratio, edge(logs[kResamples - 1 - kOut]));
  interval.enough = true;
  return interval;
}

}  // namespace decant::profile
