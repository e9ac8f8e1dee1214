// SPDX-License-Identifier: Apache-2.0
#include "engine/model/hyperparameters.h"

#include <cmath>
#include <utility>

#include "decant/detail/format.h"

namespace decant::model {

Status set_counts(const RawCounts& counts, const Architecture& architecture, const std::string& path,
                  ModelConfig& config) {
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::bad_format, detail::format("{}: {}", path, what)};
  };
  const std::pair<const char*, int64_t> bounded[] = {
      {"width", counts.d_model},      {"feed-forward width", counts.d_ff}, {"number of heads", counts.n_heads},
      {"head size", counts.head_dim}, {"context length", counts.n_ctx},
  };
  for (const auto& [name, value] : bounded)
    if (value < 1 || value > kMaxCount) return bad(detail::format("{} {} is outside 1 to {}", name, value, kMaxCount));
  if (counts.vocab_size < 0 || counts.vocab_size > kMaxCount)
    return bad(detail::format("vocabulary size {} is outside 1 to {}", counts.vocab_size, kMaxCount));
  if (counts.n_layers < 1 || counts.n_layers > kMaxLayers)
    return bad(detail::format("number of layers {} is outside 1 to {}", counts.n_layers, kMaxLayers));
  if (counts.n_heads * counts.head_dim > kMaxCount)
    return bad(detail::format("{} heads of {} are more than {} channels", counts.n_heads, counts.head_dim, kMaxCount));
  if (architecture.rotates && counts.head_dim % 2 != 0)
    return bad(detail::format("head size {} is odd, rotary positions need pairs", counts.head_dim));
  for (const LayerConfig& layer : config.layers)
    if (layer.n_kv_heads < 1 || layer.n_kv_heads > counts.n_heads || counts.n_heads % layer.n_kv_heads != 0)
      return bad(detail::format("{} heads can't share {} key/value heads", counts.n_heads, layer.n_kv_heads));
  if (!(config.norm_eps > 0.0F) || !std::isfinite(config.norm_eps))
    return bad(detail::format("epsilon of the norms is {}", config.norm_eps));

  config.architecture = architecture.name;
  config.norm = architecture.norm;
  config.ffn = architecture.ffn;
  config.d_model = static_cast<int>(counts.d_model);
  config.d_ff = static_cast<int>(counts.d_ff);
  config.n_heads = static_cast<int>(counts.n_heads);
  config.head_dim = static_cast<int>(counts.head_dim);
  config.vocab_size = static_cast<int>(counts.vocab_size);
  config.n_ctx = static_cast<int>(counts.n_ctx);
  config.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(counts.head_dim)));
  return {};
}

}  // namespace decant::model
