// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include "engine/sampler/rng.h"

using decant::ErrorCode;
using decant::SamplingParams;
using decant::sampler::Pick;
using decant::sampler::Sampler;
using decant::sampler::uniform;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SamplingParams greedy() {
  SamplingParams p;
  p.temperature = 0.0F;
  return p;
}

// Sums of four uniform numbers: roughly normal.
std::vector<float> random_logits(int n, uint64_t seed, double spread) {
  std::vector<float> logits(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    double x = -2.0;
    for (uint32_t draw = 0; draw < 4; ++draw) x += uniform(seed, i, draw);
    logits[static_cast<size_t>(i)] = static_cast<float>(spread * x);
  }
  return logits;
}

std::vector<double> distribution(std::span<const float> logits, const SamplingParams& params,
                                 std::span<const int32_t> history = {}) {
  Sampler sampler(static_cast<int>(logits.size()));
  std::vector<double> probs(logits.size());
  REQUIRE(sampler.probabilities(logits, params, history, probs).ok());
  return probs;
}

std::vector<int> kept(std::span<const double> probs) {
  std::vector<int> ids;
  for (size_t i = 0; i < probs.size(); ++i)
    if (probs[i] > 0.0) ids.push_back(static_cast<int>(i));
  return ids;
}

int pick_id(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history = {},
            int64_t pos = 0) {
  Sampler sampler(static_cast<int>(logits.size()));
  const auto pick = sampler.pick(logits, params, history, pos);
  REQUIRE(pick.ok());
  return pick->token_id;
}

double chi_square(const std::vector<int>& counts, const std::vector<double>& probs) {
  const double n = std::accumulate(counts.begin(), counts.end(), 0.0);
  double sum = 0.0;
  for (size_t i = 0; i < counts.size(); ++i)
    if (probs[i] > 0.0) sum += (counts[i] - n * probs[i]) * (counts[i] - n * probs[i]) / (n * probs[i]);
  return sum;
}

}  // namespace

TEST_CASE("sampler: greedy takes the greatest logit, the lowest id of equals") {
  for (int n : {1, 2, 15, 16, 17, 33, 1000}) {
    std::vector<float> logits = random_logits(n, 5, 3.0);
    const int best = n / 2;
    logits[static_cast<size_t>(best)] = 50.0F;
    logits.back() = 50.0F;
    CAPTURE(n);
    CHECK(pick_id(logits, greedy()) == best);
  }
  CHECK(pick_id(std::vector<float>{-kInf, -0.0F, 0.0F, -kInf}, greedy()) == 1);
}

TEST_CASE("sampler: greedy looks at the logits after penalties") {
  const std::vector<float> logits = {1.0F, 4.0F, 3.0F, -2.0F};
  const std::vector<int32_t> history = {1, 1, 3};
  SamplingParams params = greedy();
  params.repetition_penalty = 2.0F;  // once per id: 4 becomes 2, not 1
  CHECK(pick_id(logits, params, history) == 2);
  params.repetition_penalty = 1.3F;
  CHECK(pick_id(logits, params, history) == 1);
  params.repetition_penalty = 1.0F;
  params.no_repeat_ngram_size = 1;
  CHECK(pick_id(logits, params, history) == 2);
  CHECK(kept(distribution(logits, params, history)) == std::vector<int>{2});
}

TEST_CASE("sampler: ids of the history that the vocabulary lacks are skipped") {
  const std::vector<float> logits = {1.0F, 2.0F};
  const std::vector<int32_t> history = {-1, 2, std::numeric_limits<int32_t>::max(),
                                        std::numeric_limits<int32_t>::min()};
  SamplingParams params = greedy();
  params.repetition_penalty = 5.0F;
  params.no_repeat_ngram_size = 1;
  CHECK(pick_id(logits, params, history) == 1);
}

TEST_CASE("sampler: no-repeat n-gram forbids what a search at every place finds") {
  const int vocab = 4;
  const std::vector<float> logits(vocab, 0.0F);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    // Few distinct ids, long repeats: many matches, many of them overlapping.
    const auto length = static_cast<size_t>(uniform(seed, 0, 1) * 40);
    std::vector<int32_t> history(length);
    for (size_t i = 0; i < length; ++i)
      history[i] = static_cast<int32_t>(uniform(seed, static_cast<int64_t>(i), 0) * (seed % 2 == 0 ? 3 : 1.1));
    for (size_t size = 1; size <= 6; ++size) {
      std::vector<int> allowed = {0, 1, 2, 3};
      for (size_t i = 0; i + size <= length; ++i)
        if (std::equal(history.begin() + i, history.begin() + i + size - 1, history.end() - (size - 1)))
          std::erase(allowed, history[i + size - 1]);
      SamplingParams params;
      params.no_repeat_ngram_size = static_cast<int>(size);
      CAPTURE(seed);
      CAPTURE(size);
      CHECK(kept(distribution(logits, params, history)) == allowed);
    }
  }
}

TEST_CASE("sampler: an n-gram longer than the history forbids nothing") {
  SamplingParams params = greedy();
  params.no_repeat_ngram_size = std::numeric_limits<int>::max();
  CHECK(pick_id(std::vector<float>{0.0F, 1.0F}, params, std::vector<int32_t>{1, 1, 1}) == 1);
}

TEST_CASE("sampler: top-k keeps every tie of the k-th, top-p the lower ids of equals") {
  const std::vector<float> logits = {1.0F, 3.0F, 2.0F, 2.0F, 2.0F, 0.0F};
  SamplingParams params;
  params.top_k = 2;
  CHECK(kept(distribution(logits, params)) == std::vector<int>{1, 2, 3, 4});

  const std::vector<float> equal(8, 0.5F);
  params = SamplingParams{};
  params.top_p = 0.45F;  // 1 − p is 0.55: four eighths are dropped
  CHECK(kept(distribution(equal, params)) == std::vector<int>{0, 1, 2, 3});
  params.top_p = 1e-7F;
  CHECK(kept(distribution(equal, params)) == std::vector<int>{0});
}

TEST_CASE("sampler: top-p keeps what a full sort keeps") {
  for (uint64_t seed = 1; seed <= 20; ++seed)
    for (const float p : {0.05F, 0.5F, 0.9F, 0.99F, 0.9999F}) {
      std::vector<float> logits = random_logits(500, seed, 0.5 + static_cast<double>(seed));
      for (float& x : logits) x = std::round(x * 4.0F) / 4.0F;  // ties
      const std::vector<double> probs = distribution(logits, {});
      std::vector<int> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
      double sum = 0.0;
      while (order.size() > 1) {
        sum += probs[order.back()];
        if (sum > 1.0 - static_cast<double>(p)) break;
        order.pop_back();
      }
      std::sort(order.begin(), order.end());
      SamplingParams params;
      params.top_p = p;
      CAPTURE(seed);
      CAPTURE(p);
      CHECK(kept(distribution(logits, params)) == order);
    }
}

TEST_CASE("sampler: a cutoff above every probability leaves the greatest") {
  const std::vector<float> logits = {0.0F, 0.1F, 0.05F};
  SamplingParams params;
  params.epsilon_cutoff = 0.9F;
  CHECK(kept(distribution(logits, params)) == std::vector<int>{1});
  params.epsilon_cutoff = 0.0F;
  params.eta_cutoff = 0.999F;
  CHECK(kept(distribution(std::vector<float>{0.0F, 5.0F}, params)) == std::vector<int>{1});
}

TEST_CASE("sampler: same seed and position, same token, whatever was sampled between") {
  const std::vector<float> logits = random_logits(300, 9, 2.0);
  const std::vector<float> others = random_logits(300, 10, 4.0);
  const std::vector<int32_t> history = {1, 2, 3, 1, 2};
  SamplingParams params;
  params.seed = 1234;
  params.top_p = 0.9F;
  params.repetition_penalty = 1.2F;
  Sampler shared(300);
  int changes = 0;
  int previous = -1;
  for (int64_t pos = 0; pos < 50; ++pos) {
    SamplingParams noise;
    noise.no_repeat_ngram_size = 2;
    noise.top_k = 7;
    REQUIRE(shared.pick(others, noise, history, pos).ok());
    const auto pick = shared.pick(logits, params, history, pos);
    REQUIRE(pick.ok());
    CHECK(pick->token_id == pick_id(logits, params, history, pos));
    changes += pick->token_id != previous ? 1 : 0;
    previous = pick->token_id;
  }
  CHECK(changes > 25);
}

TEST_CASE("sampler: another seed or position draws anew") {
  const std::vector<float> flat(1000, 0.0F);
  SamplingParams params;
  const int first = pick_id(flat, params, {}, 7);
  CHECK(pick_id(flat, params, {}, 8) != first);
  params.seed = uint64_t{1} << 63;
  CHECK(pick_id(flat, params, {}, 7) != first);
}

// 0.999 quantiles of chi-square with 7 and 3 degrees of freedom are 24.3 and 16.3. Seeds are fixed: no run differs.
TEST_CASE("sampler: draws follow the distribution over positions and over seeds") {
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 2.0F, 0.5F, -kInf, 1.5F, -2.0F, 0.25F};
  SamplingParams params;
  params.temperature = 0.8F;
  for (const int top_k : {0, 4}) {
    params.top_k = top_k;
    const std::vector<double> probs = distribution(logits, params);
    const double limit = top_k == 0 ? 24.3 : 16.3;
    Sampler sampler(static_cast<int>(logits.size()));
    for (const bool over_positions : {true, false})
      for (uint64_t run = 0; run < 4; ++run) {
        std::vector<int> counts(logits.size(), 0);
        for (int i = 0; i < 20000; ++i) {
          params.seed = over_positions ? run : run * 20000 + static_cast<uint64_t>(i);
          const auto pick = sampler.pick(logits, params, {}, over_positions ? i : 3);
          REQUIRE(pick.ok());
          ++counts[static_cast<size_t>(pick->token_id)];
        }
        for (size_t i = 0; i < probs.size(); ++i)
          if (probs[i] == 0.0) CHECK(counts[i] == 0);
        CHECK(chi_square(counts, probs) < limit);
      }
  }
}

TEST_CASE("sampler: logprob is of the raw logits") {
  std::vector<float> logits = random_logits(1001, 3, 8.0);
  logits[17] = -kInf;
  long double sum = 0.0L;
  for (const float x : logits) sum += std::exp(static_cast<long double>(x));
  SamplingParams params;
  params.temperature = 0.3F;
  params.repetition_penalty = 3.0F;
  params.top_k = 20;
  std::vector<int32_t> history(1001);
  std::iota(history.begin(), history.end(), 0);
  Sampler sampler(1001);
  for (int64_t pos = 0; pos < 20; ++pos) {
    const auto pick = sampler.pick(logits, pos % 2 == 0 ? params : greedy(), history, pos);
    REQUIRE(pick.ok());
    const auto expected = static_cast<float>(static_cast<long double>(logits[pick->token_id]) - std::log(sum));
    CHECK(std::abs(pick->logprob - expected) <= std::abs(expected) * 2e-7F);
  }
}

TEST_CASE("sampler: tokens of -inf have no probability, a row of them is an error") {
  std::vector<float> logits = {-kInf, 1.0F, -kInf, 2.0F, -kInf};
  CHECK(kept(distribution(logits, {})) == std::vector<int>{1, 3});
  SamplingParams all;
  all.top_k = 4;
  all.top_p = 0.999F;
  all.min_p = 0.01F;
  all.typical_p = 0.99F;
  all.epsilon_cutoff = 0.001F;
  all.eta_cutoff = 0.001F;
  all.repetition_penalty = 1.1F;
  CHECK(kept(distribution(logits, all, std::vector<int32_t>{0, 1})) == std::vector<int>{1, 3});

  std::fill(logits.begin(), logits.end(), -kInf);
  Sampler sampler(5);
  for (const SamplingParams& params : {SamplingParams{}, greedy(), all}) {
    const auto pick = sampler.pick(logits, params, {}, 0);
    REQUIRE_FALSE(pick.ok());
    CHECK(pick.error().code == ErrorCode::non_finite);
  }
}

TEST_CASE("sampler: a row whose every token is forbidden is an error") {
  const std::vector<float> logits = {1.0F, 2.0F, -kInf};
  const std::vector<int32_t> history = {0, 1};
  Sampler sampler(3);
  for (SamplingParams params : {SamplingParams{}, greedy()}) {
    params.no_repeat_ngram_size = 1;
    std::vector<double> probs(3);
    CHECK(sampler.pick(logits, params, history, 2).error().code == ErrorCode::non_finite);
    CHECK(sampler.probabilities(logits, params, history, probs).error().code == ErrorCode::non_finite);
  }
}

TEST_CASE("sampler: a NaN or +inf anywhere is an error that names the token") {
  for (const float bad : {kNan, kInf, -kNan})
    for (size_t at : {0U, 15U, 16U, 40U}) {
      std::vector<float> logits = random_logits(41, 2, 1.0);
      logits[at] = bad;
      Sampler sampler(41);
      for (const SamplingParams& params : {SamplingParams{}, greedy()}) {
        const auto pick = sampler.pick(logits, params, {}, 0);
        REQUIRE_FALSE(pick.ok());
        CHECK(pick.error().code == ErrorCode::non_finite);
        CHECK(pick.error().message.find("token " + std::to_string(at)) != std::string::npos);
      }
    }
}

TEST_CASE("sampler: extreme temperatures, logits and penalties give a distribution") {
  const std::vector<std::vector<float>> rows = {{3.4e38F, -3.4e38F, 0.0F, 1e-45F, 3.4e38F},
                                                {1.0F, 2.0F, 2.0F, -5.0F, 0.0F},
                                                {-3.4e38F, -3.4e38F, -3.3e38F, -kInf, -kInf}};
  for (const auto& logits : rows)
    for (const float temperature : {1e-45F, 1e-30F, 1e-3F, 1e30F, 3.4e38F})
      for (const float penalty : {1e-45F, 1.0F, 3.4e38F}) {
        SamplingParams params;
        params.temperature = temperature;
        params.repetition_penalty = penalty;
        for (int filters = 0; filters < 2; ++filters) {
          const std::vector<double> probs = distribution(logits, params, std::vector<int32_t>{0, 2});
          double sum = 0.0;
          for (const double p : probs) {
            CHECK((p >= 0.0 && p <= 1.0));
            sum += p;
          }
          CHECK(sum == doctest::Approx(1.0).epsilon(1e-12));
          params.top_p = 0.9F;
          params.typical_p = 0.9F;
          params.eta_cutoff = 0.01F;
        }
      }
  SamplingParams cold;
  cold.temperature = 1e-30F;
  CHECK(kept(distribution(rows[1], cold)) == std::vector<int>{1, 2});
  SamplingParams hot;
  hot.temperature = 1e30F;
  CHECK(distribution(rows[1], hot) == std::vector<double>(5, 0.2));
}

TEST_CASE("sampler: a row of another size than the vocabulary is refused") {
  Sampler sampler(4);
  const std::vector<float> logits(3, 0.0F);
  CHECK(sampler.pick(logits, {}, {}, 0).error().code == ErrorCode::invalid_argument);
  std::vector<double> probs(3);
  CHECK(sampler.probabilities(std::vector<float>(4, 0.0F), {}, {}, probs).error().code == ErrorCode::invalid_argument);
}
