// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "decant/detail/aligned_buffer.h"
#include "decant/options.h"
#include "decant/result.h"

namespace decant::sampler {

/// `invalid_argument` that names the first parameter outside its limits.
Status validate(const SamplingParams& params);

struct Pick {
  int32_t token_id = -1;
  float logprob = 0.0F;  ///< log softmax of the raw logits at token_id
};

/// Chooses tokens. Holds scratch for one vocabulary, taken at construction; pick() allocates nothing. One thread at a time.
class Sampler {
 public:
  explicit Sampler(int vocab_size);

  /// history: prompt and generated ids, oldest first; pos: the position the new token will stand at (the generator's
  /// counter). logits: [vocab_size], not changed. `non_finite` if no token has a probability.
  Result<Pick> pick(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history, int64_t pos);

  /// The distribution that pick() draws from: probs [vocab_size], zero where a filter removed the token.
  Status probabilities(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> history,
                       std::span<double> probs);

 private:
  int vocab_size_;
  detail::AlignedBuffer<double> scores_, scratch_;
  detail::AlignedBuffer<int32_t> order_;
  detail::AlignedBuffer<uint8_t> seen_;
};

}  // namespace decant::sampler
