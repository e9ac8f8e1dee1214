// SPDX-License-Identifier: Apache-2.0
#include "engine/model/convert.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "engine/model/convert_tokenizer.h"
#include "engine/model/gguf_metadata.h"
#include "engine/model/gguf_writer.h"
#include "engine/model/hyperparameters.h"
#include "engine/model/input_file.h"
#include "engine/model/json.h"
#include "engine/model/model_config.h"
#include "engine/model/printable.h"
#include "engine/model/rope.h"
#include "engine/quant/format.h"

namespace decant::model {

namespace {

constexpr float kMaxF16 = 65520.0F;  // from here on rounding to F16 gives infinity

/// GGUF's number for "most tensors are of this type".
std::optional<uint32_t> file_type(DType type) {
  switch (type) {
    case DType::f32:
      return 0;
    case DType::f16:
      return 1;
    case DType::q8_0:
      return 7;
    case DType::bf16:
      return 32;
    default:
      return std::nullopt;
  }
}

/// One tensor of the new file: rows of a tensor of the old one, or values that are made here.
struct Output {
  std::string name;
  DType type = DType::f32;
  MatrixSource matrix;  ///< a vector is one row
  bool is_vector = false;
  std::vector<float> values;  ///< used where `matrix` is none

  std::vector<int64_t> shape() const {
    if (!matrix) return {static_cast<int64_t>(values.size())};
    return is_vector ? std::vector{matrix.cols} : std::vector{matrix.rows, matrix.cols};
  }
};

class Converter {
 public:
  Converter(const std::string& directory, const std::string& gguf_path, DType type, const ConvertOptions& options)
      : directory_(directory), type_(type), options_(options), writer_(gguf_path) {}

  Status run();

 private:
  void add_metadata();
  Status add_tokenizer();
  void add_sampling();
  void plan_tensors();
  void plan_layer(const std::string& prefix, const LayerSources& layer);
  void plan_qkv(const std::string& prefix, const LayerSources& layer);
  void plan(const std::string& name, const MatrixSource& source, std::optional<DType> type = std::nullopt);
  void plan(const std::string& name, const VectorSource& source);
  Status write_tensor(const Output& output);
  Status encode(const Output& output, std::span<const float> row, std::vector<std::byte>& bytes) const;

  const std::string& directory_;
  const DType type_;
  const ConvertOptions& options_;
  GgufWriter writer_;
  JsonDocument config_;
  Hyperparameters hyper_;
  ModelDescription model_;
  std::vector<Output> outputs_;
};

void Converter::add_metadata() {
  writer_.add_string("general.architecture", hyper_.architecture->gguf_name);
  writer_.add_string("general.type", "model");
  writer_.add_string("general.name", printable(options_.name.empty() ? model_.info.name : options_.name));
  if (!options_.description.empty()) writer_.add_string("general.description", options_.description);
  if (!options_.license.empty()) writer_.add_string("general.license", options_.license);
  add_gguf_config(writer_, hyper_, model_.config, *file_type(type_));
  add_sampling();
}

/// As llama.cpp names them; it has no place for typical_p and no_repeat_ngram_size.
void Converter::add_sampling() {
  const GenerationDefaults& defaults = model_.defaults;
  std::optional<float> temperature = defaults.temperature;
  if (defaults.do_sample) temperature = *defaults.do_sample ? temperature.value_or(1.0F) : 0.0F;
  if (temperature) writer_.add_f32("general.sampling.temp", *temperature);
  if (defaults.top_k) writer_.add_i32("general.sampling.top_k", *defaults.top_k);
  if (defaults.top_p) writer_.add_f32("general.sampling.top_p", *defaults.top_p);
  if (defaults.min_p) writer_.add_f32("general.sampling.min_p", *defaults.min_p);
  if (defaults.repetition_penalty) writer_.add_f32("general.sampling.penalty_repeat", *defaults.repetition_penalty);
}

Status Converter::add_tokenizer() {
  if (!model_.tokenizer.tokenizer_json) {
    writer_.add_string("tokenizer.ggml.model", "no_vocab");
    return add_gguf_end_ids(writer_, std::nullopt, model_.end_ids, directory_);
  }
  const std::string path = directory_ + "/tokenizer.json";
  Result<JsonDocument> tokenizer = parse_json_object(*model_.tokenizer.tokenizer_json, path);
  if (!tokenizer) return tokenizer.error();
  Result<JsonDocument> tokenizer_config =
      parse_json_object(model_.tokenizer.tokenizer_config_json.value_or("{}"), path);
  if (!tokenizer_config) return tokenizer_config.error();
  Result<ConvertedTokenizer> converted =
      convert_tokenizer(*tokenizer, *tokenizer_config, config_, model_.config.vocab_size, path);
  if (!converted) return converted.error();

  if (Status added =
          add_gguf_vocabulary(writer_, converted->vocabulary, model_.end_ids, converted->padding, directory_);
      !added)
    return added;

  const std::string jinja = directory_ + "/chat_template.jinja";
  struct stat status = {};
  if (converted->chat_template.empty() && ::stat(jinja.c_str(), &status) == 0) {
    Result<std::string> text = read_text(jinja);
    if (!text) return text.error();
    converted->chat_template = std::move(*text);
  }
  if (!converted->chat_template.empty()) writer_.add_string("tokenizer.chat_template", converted->chat_template);
  return {};
}

void Converter::plan(const std::string& name, const MatrixSource& source, std::optional<DType> type) {
  if (!source) return;
  DType chosen = type.value_or(type_);
  if (source.cols % quant::format(chosen).block_values != 0) chosen = DType::f16;
  outputs_.push_back({name + ".weight", chosen, source, false, {}});
}

void Converter::plan(const std::string& name, const VectorSource& source) {
  if (!source) return;
  Output output{name, DType::f32, {}, true, {}};
  // A vector of the file is a row of a matrix of one row, unless a part of a fused one is wanted.
  output.matrix = {.tensor = source.tensor,
                   .row_begin = source.begin,
                   .rows = 1,
                   .cols = source.size,
                   .transposed = false,
                   .interleaved = source.interleaved};
  outputs_.push_back(std::move(output));
}

/// One fused tensor stays one, unless q and k have rotary pairs to be moved.
void Converter::plan_qkv(const std::string& prefix, const LayerSources& layer) {
  const TensorNames& names = *hyper_.architecture->gguf;
  const bool interleaved = hyper_.architecture->gguf_interleaved;
  if (layer.q.tensor == layer.k.tensor && layer.q.tensor == layer.v.tensor && !interleaved) {
    MatrixSource all = layer.q;
    all.rows = layer.q.rows + layer.k.rows + layer.v.rows;
    plan(prefix + names.qkv, all);
    VectorSource bias = layer.q_bias;
    bias.size = layer.q_bias.size + layer.k_bias.size + layer.v_bias.size;
    plan(prefix + names.qkv + std::string(".bias"), bias);
    return;
  }
  LayerSources moved = {};
  moved.q = layer.q, moved.k = layer.k, moved.q_bias = layer.q_bias, moved.k_bias = layer.k_bias;
  if (interleaved)
    moved.q.interleaved = moved.k.interleaved = moved.q_bias.interleaved = moved.k_bias.interleaved =
        model_.config.head_dim;
  plan(prefix + names.q, moved.q);
  plan(prefix + names.q + ".bias", moved.q_bias);
  plan(prefix + names.k, moved.k);
  plan(prefix + names.k + ".bias", moved.k_bias);
  plan(prefix + names.v, layer.v);
  plan(prefix + names.v + ".bias", layer.v_bias);
}

void Converter::plan_layer(const std::string& prefix, const LayerSources& layer) {
  const TensorNames& names = *hyper_.architecture->gguf;
  plan(prefix + names.attn_norm + ".weight", layer.attn_norm);
  plan(prefix + names.attn_norm + ".bias", layer.attn_norm_bias);
  plan_qkv(prefix, layer);
  plan(prefix + names.q_norm + ".weight", layer.q_norm);
  plan(prefix + names.k_norm + ".weight", layer.k_norm);
  plan(prefix + names.o, layer.o);
  plan(prefix + names.o + ".bias", layer.o_bias);
  plan(prefix + names.ffn_norm + ".weight", layer.ffn_norm);
  plan(prefix + names.ffn_norm + ".bias", layer.ffn_norm_bias);
  plan(prefix + names.gate, layer.gate);
  plan(prefix + names.gate + ".bias", layer.gate_bias);
  plan(prefix + names.up, layer.up);
  plan(prefix + names.up + ".bias", layer.up_bias);
  plan(prefix + names.down, layer.down);
  plan(prefix + names.down + ".bias", layer.down_bias);
}

void Converter::plan_tensors() {
  const TensorNames& names = *hyper_.architecture->gguf;
  const WeightSources& weights = model_.weights;
  if (hyper_.rope.scaling == RopeParameters::Scaling::llama3)
    outputs_.push_back(
        {"rope_freqs.weight", DType::f32, {}, true, llama3_divisors(hyper_.rope, model_.config.head_dim)});
  plan(names.token_embedding, weights.token_embedding);
  plan(names.position_embedding, weights.position_embedding, DType::f32);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    std::string prefix = names.layer;
    prefix.replace(prefix.find("{}"), 2, std::to_string(i));
    plan_layer(prefix, weights.layers[i]);
  }
  plan(names.out_norm + std::string(".weight"), weights.out_norm);
  plan(names.out_norm + std::string(".bias"), weights.out_norm_bias);
  plan(names.head, weights.head);
  for (const Output& output : outputs_) writer_.add_tensor(output.name, output.shape(), output.type);
}

/// The row of ours that goes to row r of the file. See MatrixSource::interleaved.
int64_t row_for(int64_t r, int interleaved) {
  if (interleaved == 0) return r;
  const int64_t head = r / interleaved, i = r % interleaved;
  return head * interleaved + i / 2 + (i % 2) * (interleaved / 2);
}

Status Converter::encode(const Output& output, std::span<const float> row, std::vector<std::byte>& bytes) const {
  for (const float value : row)
    if (!std::isfinite(value) || (output.type == DType::f16 && std::fabs(value) >= kMaxF16))
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tensor '{}' holds {}, which {} can't", directory_,
                                  output.matrix ? printable(output.matrix.tensor->name) : output.name, value,
                                  to_string(output.type))};
  const quant::Format& format = quant::format(output.type);
  bytes.resize(quant::row_bytes(format, static_cast<int64_t>(row.size())));
  format.encode_row(row.data(), static_cast<int>(row.size()), bytes.data());
  return {};
}

Status Converter::write_tensor(const Output& output) {
  std::vector<std::byte> encoded;
  if (!output.matrix) {
    if (Status status = encode(output, output.values, encoded); !status) return status;
    return writer_.write(encoded);
  }
  const MatrixSource& source = output.matrix;
  const quant::Format& stored = quant::format(source.tensor->type);
  const auto element = static_cast<size_t>(stored.block_bytes);  // safetensors hold plain floats
  std::vector<std::byte> all(static_cast<size_t>(source.tensor->size_bytes));
  if (Status status = model_.files->read(*source.tensor, 0, all); !status) return status;

  const auto cols = static_cast<size_t>(source.cols);
  std::vector<float> row(cols), moved(cols);
  std::vector<std::byte> gathered(cols * element);
  const auto all_rows = static_cast<size_t>(source.tensor->shape.back());
  for (int64_t r = 0; r < source.rows; ++r) {
    const std::byte* from = nullptr;
    if (output.is_vector) {
      from = all.data() + static_cast<size_t>(source.row_begin) * element;
    } else if (source.transposed) {
      const auto at = static_cast<size_t>(source.row_begin + row_for(r, source.interleaved));
      for (size_t c = 0; c < cols; ++c)
        std::copy_n(all.data() + (c * all_rows + at) * element, element, gathered.data() + c * element);
      from = gathered.data();
    } else {
      from = all.data() + static_cast<size_t>(source.row_begin + row_for(r, source.interleaved)) * cols * element;
    }
    stored.decode_row(from, static_cast<int>(cols), row.data());
    if (output.is_vector && source.interleaved > 0) {
      for (size_t c = 0; c < cols; ++c)
        moved[c] = row[static_cast<size_t>(row_for(static_cast<int64_t>(c), source.interleaved))];
      std::swap(row, moved);
    }
    if (Status status = encode(output, row, encoded); !status) return status;
    if (Status status = writer_.write(encoded); !status) return status;
  }
  return {};
}

Status Converter::run() {
  if (!file_type(type_))
    return Error{ErrorCode::unsupported,
                 detail::format("decant writes F32, F16, BF16 and Q8_0, not {}", to_string(type_))};
  struct stat status = {};
  if (::stat(directory_.c_str(), &status) == 0 && !S_ISDIR(status.st_mode))
    return Error{ErrorCode::invalid_argument, detail::format("{}: is not a directory of safetensors", directory_)};
  Result<ModelDescription> described = describe(directory_);
  if (!described) return described.error();
  model_ = std::move(*described);
  const std::string config_path = directory_ + "/config.json";
  Result<JsonDocument> config = read_json_object(config_path);
  if (!config) return config.error();
  config_ = std::move(*config);
  Result<Hyperparameters> hyper = read_hf_config(config_, config_path);
  if (!hyper) return hyper.error();
  hyper_ = std::move(*hyper);

  if (Status checked = check_gguf_expressible(hyper_, model_.config, directory_); !checked) return checked;
  add_metadata();
  if (Status added = add_tokenizer(); !added) return added;
  plan_tensors();
  if (Status begun = writer_.begin(); !begun) return begun;
  const auto total = static_cast<size_t>(writer_.data_bytes());
  size_t done = 0;
  for (const Output& output : outputs_) {
    if (options_.stop.stop_requested()) return Error{ErrorCode::cancelled, "the conversion was cancelled"};
    if (Status written = write_tensor(output); !written) return written;
    const std::vector<int64_t> shape = output.shape();
    const int64_t rows = shape.size() == 2 ? shape[0] : 1;
    done += static_cast<size_t>(rows) * quant::row_bytes(quant::format(output.type), shape.back());
    if (options_.progress) options_.progress(done, total);
  }
  return writer_.finish();
}

}  // namespace

Status convert(const std::string& directory, const std::string& gguf_path, DType type, const ConvertOptions& options) {
  const detail::FpState fp_state;
  return Converter(directory, gguf_path, type, options).run();
}

}  // namespace decant::model
