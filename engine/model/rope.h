// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "decant/result.h"

#include "engine/model/hyperparameters.h"

namespace decant::model {

/// [head_dim / 2] frequencies in binary64, scaling applied: base^(−2i / head_dim), divided by `divisors[i]` where a
/// file gives them (GGUF's rope_freqs.weight). The llama3 scaling is transformers' formula: frequencies whose
/// wavelength is long against the original context are divided by the factor, short ones stay, those between are
/// blended.
///
/// `bad_format` for parameters that give no usable frequencies. `path` is for messages.
Result<std::vector<double>> inverse_frequencies(const RopeParameters& rope, int head_dim,
                                                std::span<const float> divisors, const std::string& path);

/// What llama3 scaling divides each frequency by, as rope_freqs.weight holds it.
std::vector<float> llama3_divisors(const RopeParameters& rope, int head_dim);

}  // namespace decant::model
