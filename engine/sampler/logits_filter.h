// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "decant/detail/aligned_buffer.h"
#include "decant/options.h"

#include "engine/sampler/exp_row.h"

namespace decant::sampler {

/// From a row of logits to the tokens that may be drawn and their weights.
///
/// The steps and their order are those of transformers' `generate`: repetition penalty, no-repeat n-gram, temperature,
/// top-k, top-p, min-p, typical-p, epsilon, eta; each sees the distribution that the one before left. Arithmetic is
/// binary64; sums run in ascending id unless said otherwise. Where top-p has to choose between equal scores, the
/// lower id stays. Takes its memory at construction: 33 bytes a vocabulary entry. One thread at a time.
class LogitsFilter {
 public:
  explicit LogitsFilter(int vocab_size);

  /// Repetition penalty and no-repeat n-gram: scores [vocab_size], −inf where a token is forbidden. The span is valid
  /// until the next call. history may hold ids outside the vocabulary; they are skipped.
  ///
  /// O(vocab_size + history.size()), whatever the n-gram's length.
  std::span<const double> penalize(std::span<const float> logits, const SamplingParams& params,
                                   std::span<const int32_t> history);

  /// All steps, with temperature > 0. Logits have no NaN and no +inf; those of −inf have no probability. False if no
  /// token is left, which only penalties and −inf can cause.
  ///
  /// O(vocab_size) but for top-p and typical-p, which sort the tokens whose probabilities are about the last one's to
  /// stay.
  bool run(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history);

  /// The tokens that are left, ascending, and their weights: probability = weight / total().
  std::span<const int32_t> ids() const { return {ids_.data(), static_cast<size_t>(n_)}; }
  std::span<const double> weights() const { return {weights_.data(), static_cast<size_t>(n_)}; }
  double total() const { return total_; }

  size_t size_bytes() const noexcept {
    return scores_.size_bytes() + weights_.size_bytes() + keys_.size_bytes() + ids_.size_bytes() + order_.size_bytes() +
           seen_.size_bytes();
  }

 private:
  void repetition_penalty(double penalty, std::span<const int32_t> history);
  void no_repeat_ngram(int size, std::span<const int32_t> history);
  void collect(double temperature);
  void softmax();
  void top_k(int k);
  void top_p(double p);
  void min_p(double p);
  void typical_p(double mass);
  void cutoff(double threshold);
  double surprise(int i, double log_total) const { return log_total - (scores_[i] - max_); }
  double entropy() const;
  double greatest_weight() const;
  /// The token whose weight brings the running sum to `limit`, in the order that `before` defines; keys_, at least 0,
  /// may not descend in it. The last one if rounding keeps the sum below.
  template <typename Before>
  int reach(double limit, Before before);
  template <typename Keep>
  void keep_if(Keep keep);

  int vocab_size_;
  ExpRowFn exp_row_;
  int n_ = 0;           // tokens left; [0, n_) of the arrays below is theirs
  double max_ = 0.0;    // greatest score when the weights were computed: weight = exp(score − max_)
  double total_ = 0.0;  // sum of the weights
  detail::AlignedBuffer<double> scores_, weights_, keys_;
  detail::AlignedBuffer<int32_t> ids_, order_;
  detail::AlignedBuffer<uint8_t> seen_;  // all zero between calls
};

}  // namespace decant::sampler
