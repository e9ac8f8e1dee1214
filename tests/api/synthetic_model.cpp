// SPDX-License-Identifier: Apache-2.0
#include "tests/api/synthetic_model.h"

#include "engine/model/synth.h"
#include "tests/support/decode.h"

namespace decant::test {
namespace {

constexpr const char* kConfig = R"({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 256,
  "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 300,
  "max_position_embeddings": 2048, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})";

}  // namespace

std::shared_ptr<const Model> SyntheticModels::of(DType type) {
  std::shared_ptr<const Model>& model = open_[type];
  if (model) return model;
  folder_.write("config.json", kConfig);
  const model::SynthShape shape = must(model::synth_shape(folder_.path("config.json")));
  const std::string path = folder_.path(std::string(to_string(type)) + ".gguf");
  must(model::synthesize(shape, {to_string(type), 0, type, model::WeightMix::Recipe::pure}, path));
  return model = open_model(path);
}

}  // namespace decant::test
