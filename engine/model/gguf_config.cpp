// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "decant/detail/format.h"

#include "engine/model/hyperparameters.h"
#include "engine/model/printable.h"

namespace decant::model {

namespace {

/// A key, without its architecture, that changes the result unless it is missing, false, 0, or this number.
struct NeutralKey {
  const char* key;
  double neutral = 0.0;
};

constexpr NeutralKey kNeutralKeys[] = {
    {"attention.clamp_kqv"},
    {"attention.max_alibi_bias"},
    {"attention.scale"},
    {"attention.sliding_window_pattern"},
    {"attention.temperature_scale"},
    {"attn_logit_softcapping"},
    {"embedding_scale", 1.0},
    {"expert_count"},
    {"final_logit_softcapping"},
    {"logit_scale", 1.0},
    {"pooling_type"},
    {"residual_scale", 1.0},
    {"rope.dimension_sections"},
    {"rope.scaling.attn_factor", 1.0},
    {"rope.scaling.yarn_log_multiplier"},
    {"use_parallel_residual"},
};

Error unsupported(const std::string& path, const std::string& what) {
  return Error{ErrorCode::unsupported, detail::format("{}: {}", path, what)};
}

bool is_neutral(const GgufValue& value, double neutral) {
  if (const auto* boolean = std::get_if<bool>(&value)) return !*boolean;
  const auto* const integer = std::get_if<int64_t>(&value);
  const auto* const real = std::get_if<double>(&value);
  if (integer == nullptr && real == nullptr) return false;
  const double number = integer != nullptr ? static_cast<double>(*integer) : *real;
  return number == 0.0 || number == neutral;
}

/// A count that may be one number or one for each layer.
std::vector<int64_t> per_layer(GgufMetadata& metadata, const std::string& key, int64_t n_layers) {
  const GgufValue* const value = metadata.find(key);
  if (value == nullptr || std::holds_alternative<int64_t>(*value))
    return std::vector<int64_t>(static_cast<size_t>(n_layers), metadata.required_integer(key));
  std::vector<int64_t> counts = metadata.integers(key).value_or(std::vector<int64_t>());
  if (metadata.status() && counts.size() != static_cast<size_t>(n_layers))
    metadata.fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' has {} numbers for {} layers", metadata.path(),
                                                              key, counts.size(), n_layers)});
  counts.resize(static_cast<size_t>(n_layers));
  return counts;
}

/// As per_layer, for what decant wants equal in all layers.
int64_t uniform(GgufMetadata& metadata, const std::string& key, int64_t n_layers) {
  const std::vector<int64_t> counts = per_layer(metadata, key, n_layers);
  if (metadata.status() && std::any_of(counts.begin(), counts.end(), [&](int64_t n) { return n != counts[0]; }))
    metadata.fail(unsupported(metadata.path(), detail::format("'{}' differs between layers", key)));
  return counts[0];
}

Result<RopeParameters> read_rope(GgufMetadata& metadata, const std::string& prefix, int64_t head_dim) {
  RopeParameters rope;
  rope.base = metadata.number(prefix + "rope.freq_base").value_or(rope.base);
  const int64_t rope_dim = metadata.integer(prefix + "rope.dimension_count").value_or(head_dim);
  if (metadata.status() && rope_dim != head_dim)
    return unsupported(metadata.path(), detail::format("'{}rope.dimension_count' is {} of {} channels of a head",
                                                       prefix, rope_dim, head_dim));
  const std::string type = metadata.text(prefix + "rope.scaling.type").value_or("linear");
  // rope.scale_linear is the older spelling. A factor of 0 is llama.cpp's way to say none.
  const double older = metadata.number(prefix + "rope.scale_linear").value_or(0.0);
  const double factor = metadata.number(prefix + "rope.scaling.factor").value_or(older);
  if (!metadata.status()) return metadata.status().error();
  if (type != "none" && type != "linear")
    return unsupported(metadata.path(), detail::format("rope scaling '{}'; decant has linear", printable(type)));
  if (type == "linear" && std::abs(factor) > 0.0) {
    rope.scaling = RopeParameters::Scaling::linear;
    rope.factor = factor;
  }
  return rope;
}

Status check_neutral(const GgufMetadata& metadata, const std::string& prefix) {
  for (const NeutralKey& entry : kNeutralKeys) {
    const GgufValue* const value = metadata.find(prefix + entry.key);
    if (value != nullptr && !is_neutral(*value, entry.neutral))
      return unsupported(metadata.path(),
                         detail::format("'{}{}' is set, which decant doesn't implement", prefix, entry.key));
  }
  return {};
}

}  // namespace

Result<Hyperparameters> read_gguf_config(GgufMetadata& metadata) {
  const std::string name = metadata.text("general.architecture").value_or("");
  const std::string type = metadata.text("general.type").value_or("model");
  if (!metadata.status()) return metadata.status().error();
  const Architecture* const architecture = find_gguf_architecture(name);
  if (architecture == nullptr)
    return unsupported(metadata.path(),
                       detail::format("architecture '{}'; decant has {}", printable(name), gguf_architecture_names()));
  if (type != "model")
    return unsupported(metadata.path(), detail::format("is of type '{}', not a model", printable(type)));
  const std::string prefix = name + ".";
  if (Status neutral = check_neutral(metadata, prefix); !neutral) return neutral.error();
  if (!metadata.boolean(prefix + "attention.causal").value_or(true))
    return unsupported(metadata.path(), detail::format("'{}attention.causal' is false", prefix));

  Hyperparameters out;
  out.architecture = architecture;
  RawCounts counts;
  counts.n_layers = metadata.required_integer(prefix + "block_count");
  if (metadata.status() && (counts.n_layers < 1 || counts.n_layers > kMaxLayers))
    return Error{ErrorCode::bad_format, detail::format("{}: '{}block_count' is {}, outside 1 to {}", metadata.path(),
                                                       prefix, counts.n_layers, kMaxLayers)};
  if (!metadata.status()) return metadata.status().error();
  counts.d_model = metadata.required_integer(prefix + "embedding_length");
  counts.n_ctx = metadata.required_integer(prefix + "context_length");
  counts.n_heads = uniform(metadata, prefix + "attention.head_count", counts.n_layers);
  counts.d_ff = uniform(metadata, prefix + "feed_forward_length", counts.n_layers);
  std::vector<int64_t> n_kv(static_cast<size_t>(counts.n_layers), counts.n_heads);
  if (metadata.find(prefix + "attention.head_count_kv") != nullptr)
    n_kv = per_layer(metadata, prefix + "attention.head_count_kv", counts.n_layers);
  const std::string eps =
      architecture->norm == NormKind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
  const std::optional<double> norm_eps = metadata.number(prefix + eps);
  const std::optional<int64_t> key_length = metadata.integer(prefix + "attention.key_length");
  const std::optional<int64_t> value_length = metadata.integer(prefix + "attention.value_length");
  const int64_t window = metadata.integer(prefix + "attention.sliding_window").value_or(0);
  if (!metadata.status()) return metadata.status().error();

  if (!norm_eps)
    return Error{ErrorCode::bad_format, detail::format("{}: '{}{}' is missing", metadata.path(), prefix, eps)};
  out.config.norm_eps = static_cast<float>(*norm_eps);
  if (key_length)
    counts.head_dim = *key_length;
  else if (counts.n_heads > 0 && counts.d_model % counts.n_heads == 0)
    counts.head_dim = counts.d_model / counts.n_heads;
  else
    return Error{ErrorCode::bad_format, detail::format("{}: a width of {} can't be shared by {} heads", metadata.path(),
                                                       counts.d_model, counts.n_heads)};
  if (value_length.value_or(counts.head_dim) != counts.head_dim)
    return unsupported(metadata.path(),
                       detail::format("heads of {} for keys and {} for values", counts.head_dim, *value_length));
  if (window < 0 || window > kMaxCount)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: '{}attention.sliding_window' is {}", metadata.path(), prefix, window)};
  if (window > 0 && !architecture->gguf_window)
    return unsupported(metadata.path(), detail::format("'{}attention.sliding_window' is {}, decant's {} has no windows",
                                                       prefix, window, name));
  for (const int64_t n : n_kv)
    out.config.layers.push_back(
        {static_cast<int>(std::clamp<int64_t>(n, -1, kMaxCount + 1)), static_cast<int>(window)});
  if (Status set = set_counts(counts, *architecture, metadata.path(), out.config); !set) return set.error();
  if (architecture->rotates) {
    Result<RopeParameters> rope = read_rope(metadata, prefix, counts.head_dim);
    if (!rope) return rope.error();
    out.rope = *rope;
  }
  return out;
}

}  // namespace decant::model
