// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "decant/result.h"

#include "engine/model/architecture.h"
#include "engine/model/gguf.h"
#include "engine/model/json.h"
#include "engine/model/model_config.h"

namespace decant::model {

/// How the frequencies of rotary positions follow from a base.
struct RopeParameters {
  enum class Scaling { none, linear, llama3 };
  double base = 10000.0;
  Scaling scaling = Scaling::none;
  double factor = 1.0;  ///< linear and llama3 divide by it
  // llama3 only: wavelengths between original_ctx / high_freq_factor and original_ctx / low_freq_factor are blended.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_ctx = 0.0;
};

/// What the metadata of a model says, checked. Tensors haven't been looked at.
struct Hyperparameters {
  const Architecture* architecture = nullptr;
  ModelConfig config;  ///< without rope_inv_freq; vocab_size 0 where only the tensors tell; tied_head as HF says it
  RopeParameters rope;
  // Biases that the metadata says are there, although the family may do without.
  bool attention_bias = false;
  bool ffn_bias = false;
};

/// From a config.json, in the spelling of transformers 4 or 5. Keys that would change the result in a way decant
/// doesn't implement are `unsupported`, by name.
Result<Hyperparameters> read_hf_config(const Json& config, const std::string& path);

/// From the metadata of a GGUF file. vocab_size and tied_head are left to the tensors.
Result<Hyperparameters> read_gguf_config(GgufMetadata& metadata);

/// Counts as metadata spells them, before they are narrowed.
struct RawCounts {
  int64_t d_model = 0, d_ff = 0, n_layers = 0, n_heads = 0, head_dim = 0, vocab_size = 0, n_ctx = 0;
};

/// Checks bounds and divisibility, and fills `config`; n_kv_heads of each layer is in config.layers already, except for
/// its own bounds. vocab_size may be 0. `path` is for messages.
Status set_counts(const RawCounts& counts, const Architecture& architecture, const std::string& path,
                  ModelConfig& config);

/// Bounds of any count in a configuration.
inline constexpr int64_t kMaxCount = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 4096;

}  // namespace decant::model
