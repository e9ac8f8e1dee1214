// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string_view>

#include "decant/detail/format.h"

#include "engine/model/gguf_metadata.h"
#include "engine/model/json.h"
#include "engine/model/printable.h"
#include "engine/model/synth.h"

namespace decant::model {
namespace {

struct KnownShape {
  const char* name;
  const char* model_type;
  int n_layers, d_model, d_ff, n_heads, n_kv_heads, head_dim, vocab_size, n_ctx;
  double rope_theta, norm_eps;
  bool tied_head;
};

constexpr KnownShape kShapes[] = {
    {"llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 500000.0, 1e-5, true},
    {"llama-3b", "llama", 28, 3072, 8192, 24, 8, 128, 128256, 131072, 500000.0, 1e-5, true},
    {"llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 500000.0, 1e-5, false},
    {"tinyllama-1.1b", "llama", 22, 2048, 5632, 32, 4, 64, 32000, 2048, 10000.0, 1e-5, false},
    {"smollm2-135m", "llama", 30, 576, 1536, 9, 3, 64, 49152, 8192, 100000.0, 1e-5, true},
    {"smollm2-360m", "llama", 32, 960, 2560, 15, 5, 64, 49152, 8192, 100000.0, 1e-5, true},
    {"qwen2.5-0.5b", "qwen2", 24, 896, 4864, 14, 2, 64, 151936, 32768, 1000000.0, 1e-6, true},
    {"tiny", "llama", 2, 256, 512, 4, 2, 64, 512, 4096, 10000.0, 1e-5, true},
};

Json to_config(const KnownShape& shape) {
  return {{"model_type", shape.model_type},
          {"num_hidden_layers", shape.n_layers},
          {"hidden_size", shape.d_model},
          {"intermediate_size", shape.d_ff},
          {"num_attention_heads", shape.n_heads},
          {"num_key_value_heads", shape.n_kv_heads},
          {"head_dim", shape.head_dim},
          {"vocab_size", shape.vocab_size},
          {"max_position_embeddings", shape.n_ctx},
          {"rope_theta", shape.rope_theta},
          {"rms_norm_eps", shape.norm_eps},
          {"tie_word_embeddings", shape.tied_head}};
}

bool looks_like_path(std::string_view text) {
  return text.find('/') != std::string_view::npos || text.ends_with(".json");
}

}  // namespace

std::string synth_shape_names() {
  std::string names;
  for (const KnownShape& shape : kShapes) names += (names.empty() ? "" : ", ") + std::string(shape.name);
  return names;
}

Result<SynthShape> synth_shape(const std::string& name_or_path) {
  const auto* const known = std::find_if(std::begin(kShapes), std::end(kShapes),
                                         [&](const KnownShape& shape) { return name_or_path == shape.name; });
  const bool is_known = known != std::end(kShapes);
  if (!is_known && !looks_like_path(name_or_path))
    return Error{ErrorCode::invalid_argument,
                 detail::format("'{}' is no shape; there are {}, and any config.json by its path",
                                printable(name_or_path), synth_shape_names())};
  Result<JsonDocument> config = is_known ? Result<JsonDocument>(to_config(*known)) : read_json_object(name_or_path);
  if (!config) return config.error();
  Result<Hyperparameters> hyper = read_hf_config(*config, name_or_path);
  if (!hyper) return hyper.error();
  if (!hyper->architecture->rotates)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: weights of {} can't be made up, only of models with rotary "
                                "positions",
                                name_or_path, hyper->architecture->name)};
  if (Status checked = check_gguf_expressible(*hyper, hyper->config, name_or_path); !checked) return checked.error();
  return SynthShape{name_or_path, std::move(*hyper)};
}

}  // namespace decant::model
