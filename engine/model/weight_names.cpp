// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weight_names.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

#include "engine/model/printable.h"
#include "engine/quant/format.h"

namespace decant::model {

namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

/// Rows [begin, begin + rows) of a tensor of all_rows rows.
struct RowRange {
  int64_t begin = 0, rows = 0, all_rows = 0;
};

RowRange whole(int64_t rows) { return {0, rows, rows}; }

/// Looks tensors up and keeps the first error.
class Binder {
 public:
  Binder(const Hyperparameters& hyper, const TensorFiles& files, WeightLayout layout, const std::string& path)
      : hyper_(hyper),
        config_(hyper.config),
        files_(files),
        layout_(layout),
        path_(path),
        names_(tensor_names(*hyper.architecture, layout)) {}

  Result<BoundWeights> run();

 private:
  const TensorInfo* find(const std::string& name);
  bool has(const std::string& name) const {
    return files_.find(name) != nullptr || files_.unreadable_type(name) != nullptr;
  }
  bool check_shape(const TensorInfo& tensor, const std::vector<int64_t>& wanted);
  MatrixSource matrix(const std::string& name, RowRange range, int64_t cols, bool transposed);
  VectorSource vector(const std::string& name, RowRange range);
  VectorSource bias(const std::string& name, RowRange range, Presence presence, bool announced);
  void find_prefix();
  LayerSources layer(size_t index);
  void attention(const std::string& prefix, const LayerConfig& layer, LayerSources& out);
  void feed_forward(const std::string& prefix, LayerSources& out);
  void fail(ErrorCode code, std::string message) {
    if (status_) status_ = Error{code, std::move(message)};
  }

  const Hyperparameters& hyper_;
  const ModelConfig& config_;
  const TensorFiles& files_;
  const WeightLayout layout_;
  const std::string& path_;
  const TensorNames& names_;
  std::string prefix_;  // "model." and the like
  std::set<const TensorInfo*> used_;
  Status status_;
};

/// A tensor that must be there.
const TensorInfo* Binder::find(const std::string& name) {
  const TensorInfo* const tensor = files_.find(name);
  if (tensor != nullptr) {
    used_.insert(tensor);
    return tensor;
  }
  if (const std::string* const type = files_.unreadable_type(name))
    fail(ErrorCode::unsupported,
         detail::format("{}: tensor '{}' is of type {}; decant reads F32, F16 and BF16", path_, name, *type));
  else
    fail(ErrorCode::bad_format, detail::format("{}: tensor '{}' is missing", path_, name));
  return nullptr;
}

bool Binder::check_shape(const TensorInfo& tensor, const std::vector<int64_t>& wanted) {
  if (tensor.shape == wanted) return true;
  fail(ErrorCode::bad_format, detail::format("{}: tensor '{}' is {}, the configuration wants {}", files_.path(tensor),
                                             printable(tensor.name), shape_text(tensor.shape), shape_text(wanted)));
  return false;
}

MatrixSource Binder::matrix(const std::string& name, RowRange range, int64_t cols, bool transposed) {
  const TensorInfo* const tensor = find(name + ".weight");
  if (tensor == nullptr) return {};
  const std::vector<int64_t> wanted =
      transposed ? std::vector{cols, range.all_rows} : std::vector{range.all_rows, cols};
  if (!check_shape(*tensor, wanted)) return {};
  if (tensor->in_tiles != (layout_ == WeightLayout::packed)) {
    fail(ErrorCode::bad_format, detail::format("{}: matrix '{}' is not in tiles, as a packed file has it",
                                               files_.path(*tensor), printable(tensor->name)));
    return {};
  }
  return {.tensor = tensor,
          .row_begin = range.begin,
          .rows = range.rows,
          .cols = cols,
          .transposed = transposed,
          .interleaved = 0};
}

VectorSource Binder::vector(const std::string& name, RowRange range) {
  const TensorInfo* const tensor = find(name);
  if (tensor == nullptr || !check_shape(*tensor, {range.all_rows})) return {};
  if (quant::format(tensor->type).quantized) {
    fail(ErrorCode::unsupported,
         detail::format("{}: tensor '{}' is a vector of type {}; decant reads F32, F16 and BF16", files_.path(*tensor),
                        printable(name), to_string(tensor->type)));
    return {};
  }
  return {.tensor = tensor, .begin = range.begin, .size = range.rows, .interleaved = 0};
}

/// announced: the metadata says that it's there.
VectorSource Binder::bias(const std::string& name, RowRange range, Presence presence, bool announced) {
  const bool required = presence == Presence::required || (presence == Presence::optional && announced);
  if (required || (presence == Presence::optional && has(name + ".bias"))) return vector(name + ".bias", range);
  return {};
}

/// Checkpoints of a bare model lack the name of its class in front.
void Binder::find_prefix() {
  if (layout_ != WeightLayout::hugging_face) return;
  for (const char* const candidate : {"model.", "transformer.", ""}) {
    prefix_ = candidate;
    if (has(prefix_ + names_.token_embedding + ".weight")) return;
  }
  prefix_ = names_.transposed ? "transformer." : "model.";  // for the message about what is missing
}

void Binder::attention(const std::string& prefix, const LayerConfig& layer, LayerSources& out) {
  const Architecture& architecture = *hyper_.architecture;
  const int64_t q_rows = static_cast<int64_t>(config_.n_heads) * config_.head_dim;
  const int64_t kv_rows = static_cast<int64_t>(layer.n_kv_heads) * config_.head_dim;
  const int64_t all = q_rows + 2 * kv_rows;
  const bool fused = names_.qkv != nullptr && (names_.q == nullptr || has(prefix + names_.qkv + ".weight"));
  RowRange q = whole(q_rows), k = whole(kv_rows), v = whole(kv_rows);
  if (fused) q = {0, q_rows, all}, k = {q_rows, kv_rows, all}, v = {q_rows + kv_rows, kv_rows, all};
  const std::string q_name = prefix + (fused ? names_.qkv : names_.q);
  const std::string k_name = prefix + (fused ? names_.qkv : names_.k);
  const std::string v_name = prefix + (fused ? names_.qkv : names_.v);

  out.q = matrix(q_name, q, config_.d_model, names_.transposed);
  out.k = matrix(k_name, k, config_.d_model, names_.transposed);
  out.v = matrix(v_name, v, config_.d_model, names_.transposed);
  out.o = matrix(prefix + names_.o, whole(config_.d_model), q_rows, names_.transposed);
  out.q_bias = bias(q_name, q, architecture.qkv_bias, hyper_.attention_bias);
  out.k_bias = bias(k_name, k, architecture.qkv_bias, hyper_.attention_bias);
  out.v_bias = bias(v_name, v, architecture.qkv_bias, hyper_.attention_bias);
  out.o_bias = bias(prefix + names_.o, whole(config_.d_model), architecture.o_bias, hyper_.attention_bias);
  if (architecture.head_norms) {
    out.q_norm = vector(prefix + names_.q_norm + ".weight", whole(config_.head_dim));
    out.k_norm = vector(prefix + names_.k_norm + ".weight", whole(config_.head_dim));
  }
  if (layout_ == WeightLayout::gguf && architecture.gguf_interleaved)
    out.q.interleaved = out.k.interleaved = out.q_bias.interleaved = out.k_bias.interleaved = config_.head_dim;
}

void Binder::feed_forward(const std::string& prefix, LayerSources& out) {
  const Presence presence = hyper_.architecture->ffn_bias;
  const int64_t d_ff = config_.d_ff;
  if (config_.ffn == FfnKind::silu_gated) {
    const bool fused = names_.gate_up != nullptr;
    const RowRange gate = fused ? RowRange{0, d_ff, 2 * d_ff} : whole(d_ff);
    const std::string gate_name = prefix + (fused ? names_.gate_up : names_.gate);
    out.gate = matrix(gate_name, gate, config_.d_model, names_.transposed);
    out.gate_bias = bias(gate_name, gate, presence, hyper_.ffn_bias);
    const RowRange up = fused ? RowRange{d_ff, d_ff, 2 * d_ff} : whole(d_ff);
    const std::string up_name = prefix + (fused ? names_.gate_up : names_.up);
    out.up = matrix(up_name, up, config_.d_model, names_.transposed);
    out.up_bias = bias(up_name, up, presence, hyper_.ffn_bias);
  } else {
    out.up = matrix(prefix + names_.up, whole(d_ff), config_.d_model, names_.transposed);
    out.up_bias = bias(prefix + names_.up, whole(d_ff), presence, hyper_.ffn_bias);
  }
  out.down = matrix(prefix + names_.down, whole(config_.d_model), d_ff, names_.transposed);
  out.down_bias = bias(prefix + names_.down, whole(config_.d_model), presence, hyper_.ffn_bias);
}

LayerSources Binder::layer(size_t index) {
  std::string prefix = prefix_ + names_.layer;
  prefix.replace(prefix.find("{}"), 2, std::to_string(index));
  const RowRange width = whole(config_.d_model);
  const bool norm_bias = config_.norm == NormKind::layer;
  LayerSources out;
  out.attn_norm = vector(prefix + names_.attn_norm + ".weight", width);
  if (norm_bias) out.attn_norm_bias = vector(prefix + names_.attn_norm + ".bias", width);
  attention(prefix, config_.layers[index], out);
  out.ffn_norm = vector(prefix + names_.ffn_norm + ".weight", width);
  if (norm_bias) out.ffn_norm_bias = vector(prefix + names_.ffn_norm + ".bias", width);
  feed_forward(prefix, out);
  return out;
}

Result<BoundWeights> Binder::run() {
  find_prefix();
  BoundWeights bound;
  WeightSources& out = bound.sources;
  const RowRange vocab = whole(config_.vocab_size), width = whole(config_.d_model);
  out.token_embedding = matrix(prefix_ + names_.token_embedding, vocab, config_.d_model, false);
  if (!hyper_.architecture->rotates)
    out.position_embedding = matrix(prefix_ + names_.position_embedding, whole(config_.n_ctx), config_.d_model, false);
  // Layer by layer until one is missing: the count comes from a file and may promise thousands.
  for (size_t i = 0; i < config_.layers.size() && status_; ++i) out.layers.push_back(layer(i));
  out.out_norm = vector(prefix_ + names_.out_norm + ".weight", width);
  if (config_.norm == NormKind::layer) out.out_norm_bias = vector(prefix_ + names_.out_norm + ".bias", width);
  const bool has_head =
      layout_ == WeightLayout::hugging_face ? !config_.tied_head : has(std::string(names_.head) + ".weight");
  if (has_head) out.head = matrix(names_.head, vocab, config_.d_model, false);
  if (!status_) return status_.error();
  bound.used = std::move(used_);
  return bound;
}

}  // namespace

const TensorNames& tensor_names(const Architecture& architecture, WeightLayout layout) noexcept {
  if (layout == WeightLayout::packed) return packed_names();
  return layout == WeightLayout::gguf ? *architecture.gguf : *architecture.hf;
}

Result<BoundWeights> bind_weights(const Hyperparameters& hyper, const TensorFiles& files, WeightLayout layout,
                                  const std::string& path) {
  return Binder(hyper, files, layout, path).run();
}

}  // namespace decant::model
