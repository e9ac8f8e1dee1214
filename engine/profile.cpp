// SPDX-License-Identifier: Apache-2.0
#include "decant/profile.h"

#include <algorithm>

namespace decant {

const char* to_string(Op op) noexcept {
  constexpr std::array<const char*, kOps> kNames = {"schedule",  "embed",       "rotation",    "attn_norm", "qkv",
                                                    "kv_append", "attention",   "attn_output", "ffn_norm",  "ffn_up",
                                                    "ffn_down",  "output_norm", "head",        "sample",    "commit"};
  const auto i = static_cast<size_t>(op);
  return i < kNames.size() ? kNames[i] : "unknown";
}

size_t StepProfile::bytes() const noexcept {
  size_t sum = 0;
  for (const OpProfile& op : ops) sum += op.bytes;
  return sum;
}

LatencyHistogram::LatencyHistogram(std::span<const double> bounds_s) noexcept
    : bounds_s_(bounds_s.first(std::min(bounds_s.size(), kMaxBounds))) {}

void LatencyHistogram::add(int64_t latency_ns) noexcept {
  const double seconds = static_cast<double>(latency_ns) / 1e9;
  const auto bound = std::lower_bound(bounds_s_.begin(), bounds_s_.end(), seconds);
  ++counts_[static_cast<size_t>(bound - bounds_s_.begin())];
  ++n_;
  sum_s_ += seconds;
}

void LatencyHistograms::add(const StepProfile& step) noexcept {
  for (const TokenTiming& token : step.tokens) (token.first ? first_token : inter_token).add(token.latency_ns);
}

}  // namespace decant
