// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "decant/generation.h"
#include "decant/options.h"
#include "decant/result.h"

#include "engine/sampler/exp_row.h"
#include "engine/sampler/logits_filter.h"

namespace decant::sampler {

/// `invalid_argument` that names the first parameter outside its limits.
Status validate(const SamplingParams& params);

struct Pick {
  int32_t token_id = -1;
  float logprob = 0.0F;   ///< log softmax of the raw logits at token_id
  float greatest = 0.0F;  ///< of the raw logits
  double log_sum = 0.0;   ///< of exp(logit − greatest)
};

/// The likeliest tokens by raw logits, ties by lower id, out.size() of them; ids of −1 where there are no more.
void likeliest(std::span<const float> logits, const Pick& pick, std::span<TokenLogprob> out) noexcept;

/// Chooses tokens. Holds scratch for one vocabulary, taken at construction; a call allocates nothing unless it fails.
/// One thread at a time. Runs under the default MXCSR, which is the caller's business (detail::FpState).
///
/// Logits may be −inf: such tokens have no probability. `non_finite` for a NaN or +inf among them, and where no token
/// has a probability. params must have passed validate().
class Sampler {
 public:
  /// vocab_size ≥ 1. Throws std::bad_alloc.
  explicit Sampler(int vocab_size);

  /// history: prompt and generated ids, oldest first; pos: the position the new token will stand at (the generator's
  /// counter). logits: [vocab_size], not changed.
  Result<Pick> pick(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history,
                    int64_t pos);

  /// The distribution that pick() draws from: probs [vocab_size], zero where a filter removed the token; 1 at the
  /// greedy choice where the temperature is 0.
  Status probabilities(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history,
                       std::span<double> probs);

  size_t size_bytes() const noexcept { return filter_.size_bytes(); }

 private:
  /// The greatest logit, once there is no NaN and no +inf.
  Result<float> check(std::span<const float> logits) const;
  Result<int32_t> greedy(std::span<const float> logits, float greatest, const SamplingParams& params,
                         std::span<const int32_t> history);

  double log_sum(std::span<const float> logits, float greatest) const;

  int vocab_size_;
  ExpRowFn exp_row_;
  LogitsFilter filter_;
};

}  // namespace decant::sampler
