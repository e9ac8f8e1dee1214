// SPDX-License-Identifier: Apache-2.0
#include "engine/model/synth.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/checksum.h"
#include "engine/model/gguf_metadata.h"
#include "engine/model/gguf_writer.h"
#include "engine/model/rope.h"
#include "engine/model/synth_vocabulary.h"
#include "engine/quant/format.h"
#include "engine/quant/random_rows.h"

namespace decant::model {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 50;  // every sum below stays within its type

class Planner {
 public:
  Planner(const SynthShape& shape, const WeightMix& mix) : hyper_(shape.hyper), config_(hyper_.config), mix_(mix) {}

  std::vector<SynthTensor> run() {
    const TensorNames& names = *hyper_.architecture->gguf;
    if (hyper_.rope.scaling == RopeParameters::Scaling::llama3) {
      vector("rope_freqs", ".weight", config_.head_dim / 2, 1.0);
      tensors_.back().values = llama3_divisors(hyper_.rope, config_.head_dim);
    }
    matrix(names.token_embedding, WeightRole::token_embedding, 0, config_.vocab_size, config_.d_model);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      std::string prefix = names.layer;
      prefix.replace(prefix.find("{}"), 2, std::to_string(i));
      layer(prefix, static_cast<int>(i), config_.layers[i].n_kv_heads);
    }
    vector(names.out_norm, ".weight", config_.d_model, 1.0);
    if (!config_.tied_head) matrix(names.head, WeightRole::head, 0, config_.vocab_size, config_.d_model);
    return std::move(tensors_);
  }

 private:
  void layer(const std::string& prefix, int i, int n_kv_heads) {
    const TensorNames& names = *hyper_.architecture->gguf;
    const int64_t q_rows = int64_t{config_.n_heads} * config_.head_dim;
    const int64_t kv_rows = int64_t{n_kv_heads} * config_.head_dim;
    vector(prefix + names.attn_norm, ".weight", config_.d_model, 1.0);
    matrix(prefix + names.q, WeightRole::other, i, q_rows, config_.d_model);
    matrix(prefix + names.k, WeightRole::other, i, kv_rows, config_.d_model);
    matrix(prefix + names.v, WeightRole::v, i, kv_rows, config_.d_model);
    if (has(hyper_.architecture->qkv_bias, hyper_.attention_bias)) {
      vector(prefix + names.q, ".bias", q_rows, 0.0);
      vector(prefix + names.k, ".bias", kv_rows, 0.0);
      vector(prefix + names.v, ".bias", kv_rows, 0.0);
    }
    if (hyper_.architecture->head_norms) {
      vector(prefix + names.q_norm, ".weight", config_.head_dim, 1.0);
      vector(prefix + names.k_norm, ".weight", config_.head_dim, 1.0);
    }
    matrix(prefix + names.o, WeightRole::o, i, config_.d_model, q_rows);
    if (has(hyper_.architecture->o_bias, hyper_.attention_bias))
      vector(prefix + names.o, ".bias", config_.d_model, 0.0);
    vector(prefix + names.ffn_norm, ".weight", config_.d_model, 1.0);
    const bool ffn_bias = has(hyper_.architecture->ffn_bias, hyper_.ffn_bias);
    matrix(prefix + names.gate, WeightRole::other, i, config_.d_ff, config_.d_model);
    matrix(prefix + names.up, WeightRole::other, i, config_.d_ff, config_.d_model);
    matrix(prefix + names.down, WeightRole::down, i, config_.d_model, config_.d_ff);
    if (ffn_bias) {
      vector(prefix + names.gate, ".bias", config_.d_ff, 0.0);
      vector(prefix + names.up, ".bias", config_.d_ff, 0.0);
      vector(prefix + names.down, ".bias", config_.d_model, 0.0);
    }
  }

  static bool has(Presence presence, bool wanted) {
    return presence == Presence::required || (presence == Presence::optional && wanted);
  }

  void matrix(const std::string& name, WeightRole role, int layer, int64_t rows, int64_t cols) {
    const MixedModel model = {.n_layers = static_cast<int>(config_.layers.size()),
                              .n_heads = config_.n_heads,
                              .n_kv_heads = config_.layers[0].n_kv_heads,
                              .tied_head = config_.tied_head};
    SynthTensor tensor;
    tensor.name = name + ".weight";
    tensor.shape = {rows, cols};
    tensor.type = mixed_type(mix_, model, role, layer, cols);
    tensor.deviation = 1.0 / std::sqrt(static_cast<double>(cols));
    tensor.size_bytes = static_cast<uint64_t>(rows) * quant::row_bytes(quant::format(tensor.type), cols);
    tensors_.push_back(std::move(tensor));
  }

  void vector(const std::string& name, const char* suffix, int64_t size, double mean) {
    SynthTensor tensor;
    tensor.name = name + suffix;
    tensor.shape = {size};
    tensor.mean = mean;
    tensor.deviation = 0.05;
    tensor.size_bytes = static_cast<uint64_t>(size) * sizeof(float);
    tensors_.push_back(std::move(tensor));
  }

  const Hyperparameters& hyper_;
  const ModelConfig& config_;
  const WeightMix& mix_;
  std::vector<SynthTensor> tensors_;
};

/// Rows at a time, as many as keep a buffer within a core's cache.
Status write_random(GgufWriter& writer, const SynthTensor& tensor, const SynthOptions& options,
                    const std::function<void(size_t)>& wrote) {
  constexpr size_t kBufferBytes = size_t{256} << 10;
  const int64_t cols = tensor.shape.back();
  const int64_t rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  const uint64_t key = cache::checksum(std::as_bytes(std::span(tensor.name)), options.seed);
  const quant::RandomRows random(tensor.type, cols, {.mean = tensor.mean, .deviation = tensor.deviation}, key);
  const int64_t at_once = std::clamp<int64_t>(static_cast<int64_t>(kBufferBytes / random.row_bytes()), 1, rows);
  std::vector<std::byte> buffer(static_cast<size_t>(at_once) * random.row_bytes());
  for (int64_t row = 0; row < rows; row += at_once) {
    if (options.stop.stop_requested()) return Error{ErrorCode::cancelled, "making up the model was cancelled"};
    const auto n = static_cast<size_t>(std::min(at_once, rows - row));
    const std::span bytes = std::span(buffer).first(n * random.row_bytes());
    for (size_t i = 0; i < n; ++i)
      random.fill(row + static_cast<int64_t>(i), bytes.subspan(i * random.row_bytes(), random.row_bytes()));
    if (Status written = writer.write(bytes); !written) return written;
    wrote(bytes.size());
  }
  return {};
}

}  // namespace

Result<std::vector<SynthTensor>> plan_synth(const SynthShape& shape, const WeightMix& mix) {
  const ModelConfig& config = shape.hyper.config;
  if (config.vocab_size < kMinSynthVocabulary)
    return Error{ErrorCode::invalid_argument,
                 detail::format("{}: a vocabulary of {} has no room for the {} entries that every one has", shape.name,
                                config.vocab_size, kMinSynthVocabulary)};
  std::vector<SynthTensor> tensors = Planner(shape, mix).run();
  uint64_t total = 0;
  for (const SynthTensor& tensor : tensors) {
    total += tensor.size_bytes;
    if (total > kMaxBytes)
      return Error{ErrorCode::invalid_argument,
                   detail::format("{}: weights of more than {} TiB can't be written", shape.name, kMaxBytes >> 40)};
  }
  return tensors;
}

Status synthesize(const SynthShape& shape, const WeightMix& mix, const std::string& gguf_path,
                  const SynthOptions& options) {
  const detail::FpState fp_state;
  Result<std::vector<SynthTensor>> tensors = plan_synth(shape, mix);
  if (!tensors) return tensors.error();

  GgufWriter writer(gguf_path);
  writer.add_string("general.architecture", shape.hyper.architecture->gguf_name);
  writer.add_string("general.type", "model");
  writer.add_string("general.name", "random weights");
  writer.add_string("general.description", detail::format("{}, seed {}", mix.name, options.seed));
  add_gguf_config(writer, shape.hyper, shape.hyper.config, mix.file_type);
  if (Status added =
          add_gguf_vocabulary(writer, synth_vocabulary(shape.hyper.config.vocab_size), {}, std::nullopt, gguf_path);
      !added)
    return added;
  for (const SynthTensor& tensor : *tensors) writer.add_tensor(tensor.name, tensor.shape, tensor.type);

  if (Status begun = writer.begin(); !begun) return begun;
  const auto total = static_cast<size_t>(writer.data_bytes());
  size_t done = 0;
  const auto wrote = [&](size_t n) {
    done += n;
    if (options.progress) options.progress(done, total);
  };
  for (const SynthTensor& tensor : *tensors) {
    Status written;
    if (tensor.values.empty())
      written = write_random(writer, tensor, options, wrote);
    else
      written = writer.write(std::as_bytes(std::span(tensor.values)));
    if (!written) return written;
  }
  return writer.finish();
}

}  // namespace decant::model
