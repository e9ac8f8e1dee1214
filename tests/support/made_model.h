// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "engine/model/synth.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

/// A model with weights from a seed: a shape by name or of a config.json. "tiny": two layers, 256 channels, 4 heads
/// over 2 of 64, 512 hidden, 512 tokens.
inline std::shared_ptr<const Model> made_model(const std::string& shape = "tiny", const char* type = "q4_0") {
  const TempDir folder;
  const std::string path = folder.path("model.gguf");
  REQUIRE(model::synthesize(*model::synth_shape(shape), *model::find_weight_mix(type), path));
  Result<std::shared_ptr<const Model>> model = Model::open(path);
  REQUIRE(model);
  return *model;
}

}  // namespace decant::test
