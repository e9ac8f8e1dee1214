// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/sampler.h"

#include <algorithm>
#include <limits>

#include <emmintrin.h>

#include "decant/detail/format.h"

#include "cache/kernels/vmath64.h"
#include "engine/sampler/rng.h"

namespace decant::sampler {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kForbidden = -std::numeric_limits<double>::infinity();

Error outside(const char* name, double value, const char* limits) {
  return {ErrorCode::invalid_argument, detail::format("{} is {}, must be {}", name, value, limits)};
}

Error no_token_left() {
  return {ErrorCode::non_finite,
          "no token has a probability: every logit is -inf or forbidden by no_repeat_ngram_size"};
}

struct RowScan {
  float greatest;
  bool clean;  // no NaN, no +inf
};

// Neither result depends on the order, so vectors are free to take any. SSE2 is every x86-64's.
RowScan scan(std::span<const float> row) {
  __m128 greatest = _mm_set1_ps(-kInf), dirty = _mm_setzero_ps();
  const auto look = [&](__m128 x) {
    greatest = _mm_max_ps(x, greatest);  // the second operand where one is a NaN
    dirty = _mm_or_ps(dirty, _mm_cmpnlt_ps(x, _mm_set1_ps(kInf)));
  };
  size_t i = 0;
  for (; i + 4 <= row.size(); i += 4) look(_mm_loadu_ps(row.data() + i));
  for (; i < row.size(); ++i) look(_mm_set1_ps(row[i]));
  float lanes[4];
  _mm_storeu_ps(lanes, greatest);
  return {*std::max_element(lanes, lanes + 4), _mm_movemask_ps(dirty) == 0};
}

// The first token whose running sum passes u · total. The sum is added up as total() was, so the last one reaches it.
int32_t draw(const LogitsFilter& filter, double u) {
  const std::span<const double> weights = filter.weights();
  const double target = u * filter.total();
  double sum = 0.0;
  size_t i = 0;
  for (; i + 1 < weights.size(); ++i) {
    sum += weights[i];
    if (sum > target) break;
  }
  return filter.ids()[i];
}

float logprob(float logit, float greatest, double log_sum) {
  return static_cast<float>(static_cast<double>(logit) - greatest - log_sum);
}

}  // namespace

void likeliest(std::span<const float> logits, const Pick& pick, std::span<TokenLogprob> out) noexcept {
  size_t n = 0;
  for (size_t i = 0; i < logits.size() && !out.empty(); ++i) {
    const TokenLogprob token{static_cast<int32_t>(i), logits[i]};
    if (n == out.size() && !(token.logprob > out[n - 1].logprob)) continue;
    size_t at = n < out.size() ? n++ : n - 1;
    for (; at > 0 && token.logprob > out[at - 1].logprob; --at) out[at] = out[at - 1];
    out[at] = token;
  }
  for (size_t i = 0; i < n; ++i) out[i].logprob = logprob(out[i].logprob, pick.greatest, pick.log_sum);
  for (size_t i = n; i < out.size(); ++i) out[i] = {};
}

Status validate(const SamplingParams& params) {
  // Written so that a NaN fails every test.
  const auto in_0_1 = [](float x, bool zero, bool one) {
    return (x > 0.0F && x < 1.0F) || (zero && x == 0.0F) || (one && x == 1.0F);
  };
  if (!(params.temperature >= 0.0F && params.temperature < kInf))
    return outside("temperature", params.temperature, "finite and at least 0");
  if (params.top_k < 0) return outside("top_k", params.top_k, "at least 0");
  if (!in_0_1(params.top_p, false, true)) return outside("top_p", params.top_p, "above 0 and at most 1");
  if (!in_0_1(params.min_p, true, true)) return outside("min_p", params.min_p, "from 0 to 1");
  if (!in_0_1(params.typical_p, false, true)) return outside("typical_p", params.typical_p, "above 0 and at most 1");
  if (!in_0_1(params.epsilon_cutoff, true, false))
    return outside("epsilon_cutoff", params.epsilon_cutoff, "at least 0 and below 1");
  if (!in_0_1(params.eta_cutoff, true, false))
    return outside("eta_cutoff", params.eta_cutoff, "at least 0 and below 1");
  if (!(params.repetition_penalty > 0.0F && params.repetition_penalty < kInf))
    return outside("repetition_penalty", params.repetition_penalty, "finite and above 0");
  if (params.no_repeat_ngram_size < 0)
    return outside("no_repeat_ngram_size", params.no_repeat_ngram_size, "at least 0");
  return {};
}

Sampler::Sampler(int vocab_size) : vocab_size_(vocab_size), exp_row_(exp_row_for_cpu()), filter_(vocab_size) {}

Result<float> Sampler::check(std::span<const float> logits) const {
  if (logits.size() != static_cast<size_t>(vocab_size_))
    return Error{ErrorCode::invalid_argument,
                 detail::format("{} logits, but the vocabulary has {} tokens", logits.size(), vocab_size_)};
  const RowScan row = scan(logits);
  if (!row.clean) {
    const auto bad = std::find_if(logits.begin(), logits.end(), [](float x) { return !(x < kInf); });
    return Error{ErrorCode::non_finite, detail::format("the logit of token {} is {}", bad - logits.begin(), *bad)};
  }
  if (row.greatest == -kInf) return no_token_left();
  return row.greatest;
}

Result<int32_t> Sampler::greedy(std::span<const float> logits, float greatest, const SamplingParams& params,
                                std::span<const int32_t> history) {
  if (params.repetition_penalty == 1.0F && params.no_repeat_ngram_size == 0)
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), greatest) - logits.begin());
  const std::span<const double> scores = filter_.penalize(logits, params, history);
  const auto best = std::max_element(scores.begin(), scores.end());  // the first of equals
  if (*best == kForbidden) return no_token_left();
  return static_cast<int32_t>(best - scores.begin());
}

// In binary64; the sum is a row's: sixteen partial sums, element i in sum i mod 16, then one pairwise tree. A single
// one would wait for each addition, and the logarithm of it is for reading, not for drawing.
double Sampler::log_sum(std::span<const float> logits, float greatest) const {
  constexpr size_t kLanes = 16, kRun = 256;
  double run[kRun], sums[kLanes] = {};
  for (size_t begin = 0; begin < logits.size(); begin += kRun) {
    const size_t n = std::min(kRun, logits.size() - begin);
    const size_t padded = (n + kLanes - 1) / kLanes * kLanes;
    std::copy_n(logits.data() + begin, n, run);
    std::fill(run + n, run + padded, kForbidden);  // adds +0, which changes no sum of terms that are not negative
    exp_row_(run, greatest, static_cast<int>(padded), run);
    for (size_t i = 0; i < padded; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += run[i + lane];
  }
  for (size_t half = kLanes / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return kernels::log64(sums[0]);
}

Result<Pick> Sampler::pick(std::span<const float> logits, const SamplingParams& params,
                           std::span<const int32_t> history, int64_t pos) {
  const Result<float> greatest = check(logits);
  if (!greatest) return greatest.error();
  int32_t id = 0;
  if (params.temperature == 0.0F) {
    const Result<int32_t> best = greedy(logits, *greatest, params, history);
    if (!best) return best.error();
    id = *best;
  } else {
    if (!filter_.run(logits, params, history)) return no_token_left();
    id = draw(filter_, uniform(params.seed, pos, /*draw=*/0));
  }
  const double sum = log_sum(logits, *greatest);
  return Pick{id, logprob(logits[id], *greatest, sum), *greatest, sum};
}

Status Sampler::probabilities(std::span<const float> logits, const SamplingParams& params,
                              std::span<const int32_t> history, std::span<double> probs) {
  const Result<float> greatest = check(logits);
  if (!greatest) return greatest.error();
  if (probs.size() != logits.size())
    return Error{
        ErrorCode::invalid_argument,
        detail::format("room for {} probabilities, but the vocabulary has {} tokens", probs.size(), vocab_size_)};
  if (params.temperature == 0.0F) {
    const Result<int32_t> best = greedy(logits, *greatest, params, history);
    if (!best) return best.error();
    std::fill(probs.begin(), probs.end(), 0.0);
    probs[*best] = 1.0;
    return {};
  }
  if (!filter_.run(logits, params, history)) return no_token_left();
  std::fill(probs.begin(), probs.end(), 0.0);
  for (size_t i = 0; i < filter_.ids().size(); ++i) probs[filter_.ids()[i]] = filter_.weights()[i] / filter_.total();
  return {};
}

}  // namespace decant::sampler
