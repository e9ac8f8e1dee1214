// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/logits_filter.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "cache/kernels/vmath64.h"

namespace decant::sampler {
namespace {

constexpr double kForbidden = -std::numeric_limits<double>::infinity();

bool in_vocabulary(int32_t id, size_t vocab_size) { return id >= 0 && static_cast<size_t>(id) < vocab_size; }

}  // namespace

LogitsFilter::LogitsFilter(int vocab_size)
    : vocab_size_(vocab_size),
      exp_row_(exp_row_for_cpu()),
      scores_(static_cast<size_t>(vocab_size)),
      weights_(static_cast<size_t>(vocab_size)),
      keys_(static_cast<size_t>(vocab_size)),
      ids_(static_cast<size_t>(vocab_size)),
      order_(static_cast<size_t>(vocab_size)),
      seen_(static_cast<size_t>(vocab_size)) {
  std::fill_n(seen_.data(), seen_.size(), uint8_t{0});
}

std::span<const double> LogitsFilter::penalize(std::span<const float> logits, const SamplingParams& params,
                                               std::span<const int32_t> history) {
  std::copy(logits.begin(), logits.end(), scores_.data());
  if (params.repetition_penalty != 1.0F) repetition_penalty(params.repetition_penalty, history);
  if (params.no_repeat_ngram_size > 0) no_repeat_ngram(params.no_repeat_ngram_size, history);
  return scores_.span();
}

bool LogitsFilter::run(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history) {
  penalize(logits, params, history);
  collect(params.temperature);
  if (n_ == 0) return false;
  if (params.top_k > 0) top_k(params.top_k);
  softmax();
  if (params.top_p < 1.0F) top_p(params.top_p);
  if (params.min_p > 0.0F) min_p(params.min_p);
  if (params.typical_p < 1.0F) typical_p(params.typical_p);
  if (params.epsilon_cutoff > 0.0F) cutoff(params.epsilon_cutoff);
  if (params.eta_cutoff > 0.0F) {
    const double eta = params.eta_cutoff;
    cutoff(std::min(eta, std::sqrt(eta) * kernels::exp64(-entropy())));
  }
  return true;
}

void LogitsFilter::repetition_penalty(double penalty, std::span<const int32_t> history) {
  for (const int32_t id : history) {
    if (!in_vocabulary(id, seen_.size()) || seen_[id] != 0) continue;
    seen_[id] = 1;
    scores_[id] = scores_[id] < 0.0 ? scores_[id] * penalty : scores_[id] / penalty;
  }
  for (const int32_t id : history)
    if (in_vocabulary(id, seen_.size())) seen_[id] = 0;
}

void LogitsFilter::no_repeat_ngram(int size, std::span<const int32_t> history) {
  if (history.size() < static_cast<size_t>(size)) return;
  // Every place where the last size − 1 ids stand forbids the id after it. A rolling hash finds the places in one pass
  // and without memory; a match is compared in full, unless what it forbids is forbidden already: text that repeats
  // itself would match everywhere.
  const size_t length = static_cast<size_t>(size) - 1;
  const std::span<const int32_t> suffix = history.last(length);
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15;
  const auto value = [](int32_t id) { return static_cast<uint64_t>(id) + 1; };
  uint64_t wanted = 0, hash = 0, leading = 1;
  for (size_t i = 0; i < length; ++i) {
    wanted = wanted * kBase + value(suffix[i]);
    hash = hash * kBase + value(history[i]);
    leading *= kBase;
  }
  for (size_t next = length; next < history.size(); ++next) {
    const int32_t id = history[next];
    const auto first = history.begin() + static_cast<ptrdiff_t>(next - length);
    if (hash == wanted && in_vocabulary(id, scores_.size()) && scores_[id] != kForbidden &&
        std::equal(suffix.begin(), suffix.end(), first)) {
      scores_[id] = kForbidden;
    }
    hash = hash * kBase + value(id) - leading * value(*first);
  }
}

void LogitsFilter::collect(double temperature) {
  int n = 0;
  double max = kForbidden;
  for (int id = 0; id < vocab_size_; ++id) {
    const double score = scores_[id];
    scores_[n] = score;  // n ≤ id: what is overwritten has been read
    ids_[n] = id;
    n += score != kForbidden ? 1 : 0;
    max = std::max(max, score);
  }
  n_ = n;
  if (temperature != 1.0) {
    for (int i = 0; i < n; ++i) scores_[i] /= temperature;
    max /= temperature;
  }
  max_ = max;
}

void LogitsFilter::softmax() {
  exp_row_(scores_.data(), max_, n_, weights_.data());
  double total = 0.0;
  for (int i = 0; i < n_; ++i) total += weights_[i];
  total_ = total;
}

template <typename Keep>
void LogitsFilter::keep_if(Keep keep) {
  int n = 0;
  double total = 0.0;
  for (int i = 0; i < n_; ++i) {
    if (!keep(i)) continue;
    ids_[n] = ids_[i];
    scores_[n] = scores_[i];
    weights_[n] = weights_[i];
    total += weights_[n];
    ++n;
  }
  n_ = n;
  total_ = total;
}

void LogitsFilter::top_k(int k) {
  if (k >= n_) return;
  std::copy_n(scores_.data(), n_, keys_.data());
  std::nth_element(keys_.data(), keys_.data() + (k - 1), keys_.data() + n_, std::greater<>());
  const double kth = keys_[k - 1];
  int n = 0;
  for (int i = 0; i < n_; ++i) {  // before the softmax: no weights to move
    ids_[n] = ids_[i];
    scores_[n] = scores_[i];
    n += scores_[n] >= kth ? 1 : 0;
  }
  n_ = n;
}

template <typename Before>
int LogitsFilter::reach(double limit, Before before) {
  // Sorting a vocabulary of 128k takes 10 ms and more; so only the bucket in which the limit is reached is sorted. Keys
  // are in nats: beyond 32 of them next to nothing is left.
  constexpr int kBuckets = 2048;
  constexpr double kBucketsPerNat = 64.0;
  const auto bucket_of = [this](int i) {
    const double bucket = keys_[i] * kBucketsPerNat;
    return bucket < kBuckets - 1 ? static_cast<int>(bucket) : kBuckets - 1;
  };
  double sums[kBuckets] = {};
  int last_bucket = 0;
  for (int i = 0; i < n_; ++i) {
    const int bucket = bucket_of(i);
    sums[bucket] += weights_[i];
    last_bucket = std::max(last_bucket, bucket);
  }
  double sum = 0.0;
  int bucket = 0;
  for (; bucket < last_bucket && sum + sums[bucket] < limit; ++bucket) sum += sums[bucket];
  int n_members = 0;
  for (int i = 0; i < n_; ++i)
    if (bucket_of(i) == bucket) order_[n_members++] = i;
  std::sort(order_.data(), order_.data() + n_members, before);
  int member = 0;
  for (; member < n_members - 1; ++member) {
    sum += weights_[order_[member]];
    if (sum >= limit) break;
  }
  return order_[member];
}

void LogitsFilter::top_p(double p) {
  for (int i = 0; i < n_; ++i) keys_[i] = max_ - scores_[i];
  // Dropping the least likely while their sum is at most 1 − p leaves the likeliest up to the one that reaches p.
  const int last =
      reach(p * total_, [this](int a, int b) { return scores_[a] != scores_[b] ? scores_[a] > scores_[b] : a < b; });
  const double score = scores_[last];
  keep_if([this, score, last](int i) { return scores_[i] > score || (scores_[i] == score && i <= last); });
}

void LogitsFilter::min_p(double p) {
  const double threshold = p * greatest_weight();
  keep_if([this, threshold](int i) { return weights_[i] >= threshold; });
}

void LogitsFilter::typical_p(double mass) {
  const double log_total = kernels::log64(total_);
  const double mean = entropy();
  for (int i = 0; i < n_; ++i) keys_[i] = std::abs(surprise(i, log_total) - mean);
  // What stays: the most typical tokens up to the one whose weight brings the sum to `mass`, and its ties.
  const int last =
      reach(mass * total_, [this](int a, int b) { return keys_[a] != keys_[b] ? keys_[a] < keys_[b] : a < b; });
  const double key = keys_[last];
  keep_if([this, key](int i) { return keys_[i] <= key; });  // moves scores and weights, never keys
}

void LogitsFilter::cutoff(double threshold) {
  const double greatest = greatest_weight();
  const double least = threshold * total_;
  keep_if([this, least, greatest](int i) { return weights_[i] >= least || weights_[i] == greatest; });
}

double LogitsFilter::entropy() const {
  const double log_total = kernels::log64(total_);
  double sum = 0.0;
  for (int i = 0; i < n_; ++i) sum += weights_[i] / total_ * surprise(i, log_total);
  return sum;
}

double LogitsFilter::greatest_weight() const { return *std::max_element(weights_.data(), weights_.data() + n_); }

}  // namespace decant::sampler
