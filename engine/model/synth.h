// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "decant/dtype.h"
#include "decant/result.h"

#include "engine/model/hyperparameters.h"
#include "engine/model/weight_mix.h"

namespace decant::model {

/// The shape of a model whose weights are made up.
struct SynthShape {
  std::string name;
  Hyperparameters hyper;
};

/// A well-known shape by name ("llama-1b"), or that of a config.json by path. For a config.json errors are as for
/// describe(); `invalid_argument` for what is neither; `unsupported` for learned positions and windows of some layers.
Result<SynthShape> synth_shape(const std::string& name_or_path);
/// "llama-1b, llama-3b, …", for messages.
std::string synth_shape_names();

/// One tensor of a made-up model.
struct SynthTensor {
  std::string name;            ///< as GGUF calls it
  std::vector<int64_t> shape;  ///< outermost first
  DType type = DType::f32;
  double mean = 0.0;
  double deviation = 0.0;     ///< 1/sqrt(columns): activations keep their size from layer to layer
  std::vector<float> values;  ///< where the shape decides them (divisors of rotation); otherwise empty
  uint64_t size_bytes = 0;
};

/// The tensors in the order of the file. `invalid_argument` for a vocabulary that has no room for 256 bytes, and for
/// more bytes than any disk holds.
Result<std::vector<SynthTensor>> plan_synth(const SynthShape& shape, const WeightMix& mix);

struct SynthOptions {
  uint64_t seed = 0;
  /// Told now and then how many bytes of weights are written. May be empty.
  std::function<void(size_t bytes_done, size_t bytes_total)> progress;
  /// synthesize() returns `cancelled`.
  std::stop_token stop;
};

/// Writes a model of random weights as a GGUF file that llama.cpp loads too, with a made-up SentencePiece vocabulary.
/// The same shape, mix and seed give the same bytes; each tensor's depend on the seed and its name alone.
///
/// The target appears complete or not at all. Errors: as plan_synth(); `io` (the disk is full, …); `cancelled`.
Status synthesize(const SynthShape& shape, const WeightMix& mix, const std::string& gguf_path,
                  const SynthOptions& options = {});

}  // namespace decant::model
