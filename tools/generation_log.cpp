// SPDX-License-Identifier: Apache-2.0
#include "tools/generation_log.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "decant/detail/format.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

/// Microseconds are as far as these clocks mean anything.
double rounded(double value) { return std::round(value * 1000.0) / 1000.0; }

std::string line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

void GenerationLog::token(double t_ms) { times_ms_.push_back(t_ms); }

std::optional<GenerationLog::Latency> GenerationLog::latency() const {
  if (times_ms_.size() < 2) return std::nullopt;
  std::vector<double> gaps(times_ms_.size() - 1);
  for (size_t i = 0; i < gaps.size(); ++i) gaps[i] = times_ms_[i + 1] - times_ms_[i];
  std::sort(gaps.begin(), gaps.end());
  const auto percentile = [&gaps](double p) {  // nearest rank: always a value that was measured
    const auto rank = static_cast<size_t>(std::ceil(p * static_cast<double>(gaps.size())));
    return gaps[std::max<size_t>(rank, 1) - 1];
  };
  return Latency{percentile(0.5), percentile(0.9), percentile(0.99), gaps.back()};
}

std::optional<double> GenerationLog::tokens_per_s() const {
  if (times_ms_.size() < 2 || times_ms_.back() <= times_ms_.front()) return std::nullopt;
  return 1000.0 * static_cast<double>(times_ms_.size() - 1) / (times_ms_.back() - times_ms_.front());
}

std::string GenerationLog::closing_text(FinishReason finish, std::optional<uint64_t> seed) const {
  std::string text = "decant: ";
  if (n_session_.value_or(0) > 0) text += detail::format("{} tokens from the session, ", *n_session_);
  text += detail::format("{} prompt token{}, {} generated", n_prompt_, n_prompt_ == 1 ? "" : "s", n_generated());
  if (!times_ms_.empty()) text += detail::format(", first token {:.1f} ms", times_ms_.front());
  if (const auto ms = latency()) text += detail::format(", {:.2f} ms/token p50, {:.2f} p99", ms->p50, ms->p99);
  if (const auto speed = tokens_per_s()) text += detail::format(", {:.1f} tokens/s", *speed);
  text += detail::format(", finish: {}", to_string(finish));
  if (seed) text += detail::format(", seed {}", *seed);
  return text + "\n";
}

std::string GenerationLog::closing_json(FinishReason finish) const {
  Json json;
  json["finish_reason"] = to_string(finish);
  if (n_session_) json["n_session"] = *n_session_;
  json["n_prompt"] = n_prompt_;
  json["n_generated"] = n_generated();
  json["ttft_ms"] = times_ms_.empty() ? Json() : Json(rounded(times_ms_.front()));
  const auto ms = latency();
  json["itl_ms"]["p50"] = ms ? Json(rounded(ms->p50)) : Json();
  json["itl_ms"]["p90"] = ms ? Json(rounded(ms->p90)) : Json();
  json["itl_ms"]["p99"] = ms ? Json(rounded(ms->p99)) : Json();
  json["itl_ms"]["max"] = ms ? Json(rounded(ms->max)) : Json();
  const auto speed = tokens_per_s();
  json["tokens_per_s"] = speed ? Json(rounded(*speed)) : Json();
  return line(json);
}

std::string token_json(int32_t id, const std::string& text, float logprob, double t_ms) {
  Json json;
  json["id"] = id;
  json["text"] = text;
  json["logprob"] = logprob;
  json["t_ms"] = rounded(t_ms);
  return line(json);
}

}  // namespace decant::tools
