// SPDX-License-Identifier: Apache-2.0
#include "engine/model/rope.h"

#include <cmath>
#include <numbers>

#include "decant/detail/format.h"

#include "cache/kernels/rope.h"

namespace decant::model {

namespace {

constexpr double kMaxFrequency = 1024.0;  // radians a token; sane models have at most 1

double llama3_frequency(const RopeParameters& rope, double frequency) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < rope.original_ctx / rope.high_freq_factor) return frequency;
  if (wavelength > rope.original_ctx / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth =
      (rope.original_ctx / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
}

bool is_positive(double value) { return std::isfinite(value) && value > 0.0; }

bool parameters_are_sane(const RopeParameters& rope) {
  if (!std::isfinite(rope.base) || rope.base < 1.0 || !is_positive(rope.factor)) return false;
  if (rope.scaling != RopeParameters::Scaling::llama3) return true;
  return is_positive(rope.low_freq_factor) && is_positive(rope.high_freq_factor) && is_positive(rope.original_ctx) &&
         rope.high_freq_factor > rope.low_freq_factor;
}

}  // namespace

Result<std::vector<double>> inverse_frequencies(const RopeParameters& rope, int head_dim,
                                                std::span<const float> divisors, const std::string& path) {
  const auto bad = [&] {
    return Error{ErrorCode::bad_format, detail::format("{}: base {} and scaling by {} give no rotary frequencies", path,
                                                       rope.base, rope.factor)};
  };
  if (!parameters_are_sane(rope)) return bad();
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  kernels::rope_frequencies(rope.base, head_dim, frequencies.data());
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double& frequency = frequencies[i];
    if (rope.scaling == RopeParameters::Scaling::linear) frequency /= rope.factor;
    if (rope.scaling == RopeParameters::Scaling::llama3) frequency = llama3_frequency(rope, frequency);
    if (!divisors.empty()) frequency /= static_cast<double>(divisors[i]);
    if (!is_positive(frequency) || frequency > kMaxFrequency) return bad();
  }
  return frequencies;
}

std::vector<float> llama3_divisors(const RopeParameters& rope, int head_dim) {
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  kernels::rope_frequencies(rope.base, head_dim, frequencies.data());
  std::vector<float> divisors;
  for (const double frequency : frequencies)
    divisors.push_back(static_cast<float>(frequency / llama3_frequency(rope, frequency)));
  return divisors;
}

}  // namespace decant::model
