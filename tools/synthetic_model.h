// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "decant/result.h"

#include "engine/model/synth.h"
#include "tools/terminal.h"

namespace decant::tools {

/// "llama-1b:q4_0" or "config.json:q4_0", read.
struct Synthetic {
  model::SynthShape shape;
  const model::WeightMix* mix = nullptr;
};
/// `invalid_argument` for other text, and errors as model::synth_shape().
Result<Synthetic> parse_synthetic(const std::string& text);

/// A model of random weights in the folder for temporary files; gone with the object.
class SyntheticModel {
 public:
  static Result<SyntheticModel> make(const Synthetic& synthetic, const Interrupts& interrupts);
  SyntheticModel(SyntheticModel&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
  SyntheticModel& operator=(SyntheticModel&& other) noexcept {
    std::swap(folder_, other.folder_);
    return *this;
  }
  ~SyntheticModel();

  std::string path() const { return folder_ + "/model.gguf"; }

 private:
  explicit SyntheticModel(std::string folder) : folder_(std::move(folder)) {}
  std::string folder_;
};

}  // namespace decant::tools
