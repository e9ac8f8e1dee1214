// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "decant/detail/format.h"

#include "engine/model/hyperparameters.h"
#include "engine/model/printable.h"

namespace decant::model {

namespace {

/// A key that changes the result unless it is missing, null, false, an empty list, or this number.
struct NeutralKey {
  const char* key;
  double neutral = 0.0;
};

// Of the families decant has and of their relatives that borrow a model_type.
constexpr NeutralKey kNeutralKeys[] = {
    {"add_cross_attention"},
    {"alibi"},
    {"attention_chunk_size"},
    {"attention_multiplier"},
    {"attn_logit_softcapping"},
    {"clip_qkv"},
    {"embedding_multiplier", 1.0},
    {"final_logit_softcapping"},
    {"is_encoder_decoder"},
    {"logit_scale", 1.0},
    {"logits_scaling", 1.0},
    {"no_rope_layers"},
    {"num_experts"},
    {"num_local_experts"},
    {"parallel_attn"},
    {"partial_rotary_factor", 1.0},
    {"qk_layernorm"},
    {"quantization_config"},
    {"query_pre_attn_scalar"},
    {"residual_multiplier", 1.0},
    {"rotary_dim"},
    {"rotary_pct", 1.0},
    {"scale_attn_by_inverse_layer_idx"},
    {"use_bidirectional_attention"},
    {"use_mrope"},
    {"use_parallel_residual"},
    {"use_qk_norm"},
};

Error unsupported(const std::string& path, const std::string& what) {
  return Error{ErrorCode::unsupported, detail::format("{}: {}", path, what)};
}

bool is_neutral(const Json& value, double neutral) {
  if (value.is_null() || (value.is_array() && value.empty())) return true;
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_number() && value.get<double>() == neutral;
}

/// What is wrong with a key, quoted briefly.
std::string quoted(const char* key, const Json& value) {
  return detail::format("'{}' is {}", key,
                        printable(value.is_structured() ? (value.is_array() ? "a list" : "an object") : value.dump()));
}

Status check_neutral(const Json& object, const std::string& path) {
  for (const NeutralKey& entry : kNeutralKeys) {
    const auto found = object.find(entry.key);
    if (found != object.end() && !is_neutral(*found, entry.neutral))
      return unsupported(path, quoted(entry.key, *found) + ", which decant doesn't implement");
  }
  return {};
}

Status check_activation(JsonFields& fields, const Architecture& architecture) {
  const std::string_view fallback = architecture.ffn == FfnKind::silu_gated ? "silu" : "gelu_new";
  const std::string name = fields.text(architecture.keys->activation).value_or(std::string(fallback));
  const bool known = architecture.ffn == FfnKind::silu_gated ? name == "silu" || name == "swish"
                                                             : name == "gelu_new" || name == "gelu_pytorch_tanh";
  if (known || !fields.status()) return fields.status();
  return unsupported(fields.path(),
                     detail::format("'{}' is '{}', decant has '{}' for {}", architecture.keys->activation,
                                    printable(name), fallback, architecture.name));
}

/// Tokens that windowed layers look back and, with layer_types left out, the first layer that does.
struct WindowPlan {
  int64_t window = 0;
  int64_t first_layer = 0;
};

Result<WindowPlan> read_window(JsonFields& fields, const Architecture& architecture) {
  WindowPlan plan;
  // transformers' default for the key; null switches windows off.
  const int64_t window = fields.has("sliding_window") ? fields.integer("sliding_window").value_or(0) : 4096;
  switch (architecture.window_rule) {
    case WindowRule::none:
      if (const Json* const value = fields.find("sliding_window"))
        return unsupported(fields.path(), detail::format("{}, {} has no windows", quoted("sliding_window", *value),
                                                         architecture.name));
      break;
    case WindowRule::every_layer:
      plan.window = window;
      break;
    case WindowRule::from_layer:
      if (fields.boolean("use_sliding_window").value_or(false)) plan.window = window;
      plan.first_layer = fields.integer("max_window_layers").value_or(28);
      break;
  }
  if (!fields.status()) return fields.status().error();
  if (plan.window < 0 || plan.window > kMaxCount)
    return Error{ErrorCode::bad_format, detail::format("{}: 'sliding_window' is {}", fields.path(), plan.window)};
  return plan;
}

Status set_windows(JsonFields& fields, const Architecture& architecture, ModelConfig& config) {
  Result<WindowPlan> plan = read_window(fields, architecture);
  if (!plan) return plan.error();
  for (size_t i = 0; i < config.layers.size(); ++i)
    config.layers[i].window = static_cast<int64_t>(i) >= plan->first_layer ? static_cast<int>(plan->window) : 0;

  const Json* const types = fields.find("layer_types");
  if (types == nullptr) return {};
  if (!types->is_array() || types->size() != config.layers.size())
    return Error{ErrorCode::bad_format,
                 detail::format("{}: 'layer_types' should be a list of {}", fields.path(), config.layers.size())};
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const Json& type = (*types)[i];
    const bool sliding = type == "sliding_attention";
    if ((!sliding && type != "full_attention") || (sliding && architecture.window_rule == WindowRule::none))
      return unsupported(fields.path(), detail::format("layer {} is of type {}, which decant's {} doesn't have", i,
                                                       printable(type.is_string() ? type.get<std::string>() : "?"),
                                                       architecture.name));
    config.layers[i].window = sliding ? static_cast<int>(plan->window) : 0;
  }
  return {};
}

Result<RopeParameters> read_rope(JsonFields& fields) {
  RopeParameters rope;
  rope.base = fields.number("rope_theta").value_or(rope.base);
  const Json* object = fields.find("rope_parameters");  // transformers 5
  const char* const name = object != nullptr ? "rope_parameters" : "rope_scaling";
  if (object == nullptr) object = fields.find("rope_scaling");
  if (!fields.status()) return fields.status().error();
  if (object == nullptr) return rope;
  if (!object->is_object())
    return Error{ErrorCode::bad_format, detail::format("{}: '{}' should be an object", fields.path(), name)};
  if (Status neutral = check_neutral(*object, fields.path()); !neutral) return neutral.error();
  for (const auto& [key, value] : object->items())
    if (value.is_object())
      return unsupported(fields.path(), detail::format("'{}' differs between layers ('{}')", name, printable(key)));

  JsonFields values(*object, fields.path());
  rope.base = values.number("rope_theta").value_or(rope.base);
  const std::string type = values.text("rope_type").value_or(values.text("type").value_or("default"));
  if (!values.status()) return values.status().error();
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3")
    return unsupported(fields.path(),
                       detail::format("rope scaling '{}'; decant has linear and llama3", printable(type)));
  const std::optional<double> factor = values.number("factor");
  if (!factor) values.fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' has no factor", fields.path(), name)});
  rope.factor = factor.value_or(1.0);
  rope.scaling = RopeParameters::Scaling::linear;
  if (type == "llama3") {
    rope.scaling = RopeParameters::Scaling::llama3;
    const std::optional<double> low = values.number("low_freq_factor"), high = values.number("high_freq_factor");
    std::optional<double> original = values.number("original_max_position_embeddings");
    if (!original) original = fields.number("original_max_position_embeddings");
    if (!low || !high || !original)
      values.fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' lacks low_freq_factor, high_freq_factor or "
                                                              "original_max_position_embeddings",
                                                              fields.path(), name)});
    rope.low_freq_factor = low.value_or(1.0);
    rope.high_freq_factor = high.value_or(4.0);
    rope.original_ctx = original.value_or(0.0);
  }
  if (!values.status()) return values.status().error();
  return rope;
}

}  // namespace

Result<Hyperparameters> read_hf_config(const Json& root, const std::string& path) {
  JsonFields fields(root, path);
  const std::string type = fields.text("model_type").value_or("");
  if (!fields.status()) return fields.status().error();
  const Architecture* const architecture = find_hf_architecture(type);
  if (architecture == nullptr)
    return unsupported(path,
                       detail::format("architecture '{}'; decant has {}", printable(type), hf_architecture_names()));
  if (Status neutral = check_neutral(root, path); !neutral) return neutral.error();
  if (Status activation = check_activation(fields, *architecture); !activation) return activation.error();

  Hyperparameters out;
  out.architecture = architecture;
  const ConfigKeys& keys = *architecture->keys;
  RawCounts counts;
  counts.d_model = fields.required_integer(keys.d_model);
  counts.n_layers = fields.required_integer(keys.n_layers);
  counts.n_heads = fields.required_integer(keys.n_heads);
  counts.n_ctx = fields.required_integer(keys.n_ctx);
  counts.vocab_size = fields.required_integer("vocab_size");
  // GPT-2's inner width has a default; the others must say theirs.
  const bool gated = architecture->ffn == FfnKind::silu_gated;
  const std::optional<int64_t> d_ff = gated ? fields.required_integer(keys.d_ff) : fields.integer(keys.d_ff);
  out.config.norm_eps = static_cast<float>(fields.number(keys.norm_eps).value_or(gated ? 1e-6 : 1e-5));
  // Missing is transformers' default of the family, null is one key/value head for each head.
  const bool silent = !fields.has("num_key_value_heads") && architecture->default_kv_heads != 0;
  const int64_t n_kv =
      fields.integer("num_key_value_heads").value_or(silent ? architecture->default_kv_heads : counts.n_heads);
  const std::optional<int64_t> head_dim = fields.integer("head_dim");
  out.config.tied_head = fields.boolean("tie_word_embeddings").value_or(architecture->default_tied);
  out.attention_bias = fields.boolean("attention_bias").value_or(false);
  out.ffn_bias = fields.boolean("mlp_bias").value_or(false);
  const bool scaled = fields.boolean("scale_attn_weights").value_or(true);
  if (!fields.status()) return fields.status().error();
  if (out.attention_bias && architecture->qkv_bias == Presence::none)
    return unsupported(path, detail::format("'attention_bias' is true, {} has no such biases", architecture->name));
  if (out.ffn_bias && architecture->ffn_bias == Presence::none)
    return unsupported(path, detail::format("'mlp_bias' is true, {} has no such biases", architecture->name));

  if (counts.n_layers < 1 || counts.n_layers > kMaxLayers || counts.n_heads < 1 || counts.d_model > kMaxCount)
    counts.head_dim = 1;  // set_counts says what is wrong
  else if (head_dim)
    counts.head_dim = *head_dim;
  else if (architecture->default_head_dim != 0 && !fields.has("head_dim"))
    counts.head_dim = architecture->default_head_dim;
  else if (counts.d_model % counts.n_heads == 0)
    counts.head_dim = counts.d_model / counts.n_heads;
  else
    return Error{ErrorCode::bad_format, detail::format("{}: {} = {} is no multiple of {} = {}", path, keys.d_model,
                                                       counts.d_model, keys.n_heads, counts.n_heads)};
  counts.d_ff = d_ff ? *d_ff : 4 * std::clamp<int64_t>(counts.d_model, 0, kMaxCount);
  if (counts.vocab_size < 1) counts.vocab_size = -1;
  LayerConfig layer;
  layer.n_kv_heads = static_cast<int>(std::clamp<int64_t>(n_kv, -1, kMaxCount));
  out.config.layers.assign(static_cast<size_t>(std::clamp<int64_t>(counts.n_layers, 0, kMaxLayers)), layer);
  if (Status set = set_counts(counts, *architecture, path, out.config); !set) return set.error();
  if (!scaled) out.config.attention_scale = 1.0F;

  if (Status set = set_windows(fields, *architecture, out.config); !set) return set.error();
  if (architecture->rotates) {
    Result<RopeParameters> rope = read_rope(fields);
    if (!rope) return rope.error();
    out.rope = *rope;
  }
  return out;
}

}  // namespace decant::model
