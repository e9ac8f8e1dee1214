// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decant/engine.h"

namespace decant::tools {

/// What one generation did and when, and how that is told: the closing line, and JSON Lines, whose names are a
/// contract. Times are in milliseconds since submission.
class GenerationLog {
 public:
  /// n_session: tokens of the session that the prompt is added to; empty without one.
  explicit GenerationLog(int n_prompt = 0, std::optional<int> n_session = {})
      : n_prompt_(n_prompt), n_session_(n_session) {}

  void token(double t_ms);
  int n_generated() const noexcept { return static_cast<int>(times_ms_.size()); }

  /// "decant: 4 prompt tokens, 64 generated, …": for people. seed: empty where nothing was drawn.
  std::string closing_text(FinishReason finish, std::optional<uint64_t> seed) const;

  /// {"finish_reason":…}: null stands for what was not measured (a time between tokens needs two).
  std::string closing_json(FinishReason finish) const;

 private:
  struct Latency {
    double p50, p90, p99, max;
  };
  std::optional<Latency> latency() const;
  /// Of the tokens after the first: how fast decoding is, without the prompt.
  std::optional<double> tokens_per_s() const;

  int n_prompt_;
  std::optional<int> n_session_;
  std::vector<double> times_ms_;
};

/// {"id","text","logprob","t_ms"}, with the newline. text: UTF-8.
std::string token_json(int32_t id, const std::string& text, float logprob, double t_ms);

}  // namespace decant::tools
