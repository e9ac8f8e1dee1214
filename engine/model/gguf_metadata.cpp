// SPDX-License-Identifier: Apache-2.0
#include "engine/model/gguf_metadata.h"

#include <cmath>
#include <optional>

#include "decant/detail/format.h"

namespace decant::model {

Status check_gguf_expressible(const Hyperparameters& hyper, const ModelConfig& config, const std::string& path) {
  const auto unsupported = [&](const std::string& what) {
    return Error{ErrorCode::unsupported,
                 detail::format("{}: {}, which GGUF's {} can't express", path, what, hyper.architecture->gguf_name)};
  };
  for (const LayerConfig& layer : config.layers)
    if (layer.window != config.layers[0].window || (layer.window > 0 && !hyper.architecture->gguf_window))
      return unsupported("layers with sliding windows");
  if (hyper.config.attention_scale != static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim))))
    return unsupported("attention without its usual scale");
  return {};
}

void add_gguf_config(GgufWriter& writer, const Hyperparameters& hyper, const ModelConfig& config, uint32_t file_type) {
  constexpr uint32_t kQuantizationVersion = 2;
  const std::string prefix = hyper.architecture->gguf_name + std::string(".");
  const auto u32 = [&](const char* key, int value) { writer.add_u32(prefix + key, static_cast<uint32_t>(value)); };
  u32("block_count", static_cast<int>(config.layers.size()));
  u32("context_length", config.n_ctx);
  u32("embedding_length", config.d_model);
  u32("feed_forward_length", config.d_ff);
  u32("attention.head_count", config.n_heads);
  u32("attention.head_count_kv", config.layers[0].n_kv_heads);
  u32("attention.key_length", config.head_dim);
  u32("attention.value_length", config.head_dim);
  if (config.layers[0].window > 0) u32("attention.sliding_window", config.layers[0].window);
  const bool rms = config.norm == NormKind::rms;
  writer.add_f32(prefix + (rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"), config.norm_eps);
  u32("vocab_size", config.vocab_size);
  if (hyper.architecture->rotates) {
    u32("rope.dimension_count", config.head_dim);
    writer.add_f32(prefix + "rope.freq_base", static_cast<float>(hyper.rope.base));
    if (hyper.rope.scaling == RopeParameters::Scaling::linear) {
      writer.add_string(prefix + "rope.scaling.type", "linear");
      writer.add_f32(prefix + "rope.scaling.factor", static_cast<float>(hyper.rope.factor));
    }
  }
  writer.add_u32("general.file_type", file_type);
  writer.add_u32("general.quantization_version", kQuantizationVersion);
}

Status add_gguf_end_ids(GgufWriter& writer, std::optional<int32_t> eos, std::vector<int32_t> end_ids,
                        const std::string& path) {
  if (!eos && !end_ids.empty()) eos = end_ids.front();
  if (eos) {
    writer.add_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
    std::erase(end_ids, *eos);
  }
  if (end_ids.size() > 2)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: {} end tokens, GGUF has names for three", path, end_ids.size() + 1)};
  if (!end_ids.empty()) writer.add_u32("tokenizer.ggml.eot_token_id", static_cast<uint32_t>(end_ids[0]));
  if (end_ids.size() > 1) writer.add_u32("tokenizer.ggml.eom_token_id", static_cast<uint32_t>(end_ids[1]));
  return {};
}

Status add_gguf_vocabulary(GgufWriter& writer, const tokenizer::GgufVocabulary& vocabulary,
                           const std::vector<int32_t>& end_ids, std::optional<int32_t> padding,
                           const std::string& path) {
  writer.add_string("tokenizer.ggml.model", vocabulary.model);
  writer.add_string("tokenizer.ggml.pre", vocabulary.pre);
  writer.add_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) writer.add_floats("tokenizer.ggml.scores", vocabulary.scores);
  writer.add_i32s("tokenizer.ggml.token_type", vocabulary.token_type);
  if (!vocabulary.merges.empty()) writer.add_strings("tokenizer.ggml.merges", vocabulary.merges);
  const auto add_id = [&](const char* key, std::optional<int32_t> id) {
    if (id) writer.add_u32(key, static_cast<uint32_t>(*id));
  };
  add_id("tokenizer.ggml.bos_token_id", vocabulary.bos);
  if (Status added = add_gguf_end_ids(writer, vocabulary.eos, end_ids, path); !added) return added;
  add_id("tokenizer.ggml.unknown_token_id", vocabulary.unk);
  add_id("tokenizer.ggml.padding_token_id", padding);
  const auto add_flag = [&](const char* key, std::optional<bool> value) {
    if (value) writer.add_bool(key, *value);
  };
  add_flag("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  add_flag("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
  add_flag("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
  return {};
}

}  // namespace decant::model
