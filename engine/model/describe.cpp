// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/stat.h>

#include "decant/detail/format.h"

#include "engine/model/generation_defaults.h"
#include "engine/model/gguf.h"
#include "engine/model/hf_texts.h"
#include "engine/model/hyperparameters.h"
#include "engine/model/json.h"
#include "engine/model/model_config.h"
#include "engine/model/packed_format.h"
#include "engine/model/printable.h"
#include "engine/model/rope.h"
#include "engine/model/safetensors.h"
#include "engine/model/weight_names.h"
#include "engine/quant/format.h"

namespace decant::model {

namespace {

void fill_info(const std::string& path, const std::set<const TensorInfo*>& used, ModelDescription& out) {
  const ModelConfig& config = out.config;
  ModelInfo& info = out.info;
  info.path = path;
  info.architecture = config.architecture;
  info.n_layers = static_cast<int>(config.layers.size());
  info.d_model = config.d_model;
  info.d_ff = config.d_ff;
  info.n_heads = config.n_heads;
  info.head_dim = config.head_dim;
  info.vocab_size = config.vocab_size;
  info.n_ctx = config.n_ctx;
  for (const LayerConfig& layer : config.layers) {
    info.n_kv_heads = std::max(info.n_kv_heads, layer.n_kv_heads);
    info.window = std::max(info.window, layer.window);
  }
  for (const TensorInfo* const tensor : used) {
    info.n_params += tensor->n_elements();
    info.file_bytes += static_cast<size_t>(tensor->size_bytes);
  }
  info.tied_head = config.tied_head;
}

/// The last part of a path that says something.
std::string base_name(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path absolute = std::filesystem::absolute(path, ignored).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  return absolute.filename().string();
}

Status read_generation_config(const HfTexts& texts, const Json& config, const std::string& place,
                              ModelDescription& out) {
  std::vector<int32_t> ids;
  add_ids(config, "eos_token_id", ids);
  add_ids(config, "eot_token_id", ids);
  if (texts.generation_config) {
    Result<JsonDocument> generation = parse_json_object(*texts.generation_config, place + "generation_config.json");
    if (!generation) return generation.error();
    add_ids(*generation, "eos_token_id", ids);
    add_ids(*generation, "eot_token_id", ids);
    out.defaults = generation_defaults(*generation);
  }
  out.end_ids = within_vocabulary(std::move(ids), out.config.vocab_size);
  return {};
}

Status take_tokenizer(HfTexts& texts, const std::string& place, ModelDescription& out) {
  out.tokenizer.tokenizer_json = std::move(texts.tokenizer);
  if (texts.tokenizer_config) {
    Result<JsonDocument> config = parse_json_object(*texts.tokenizer_config, place + "tokenizer_config.json");
    if (!config) return config.error();
    const auto chat_template = config->find("chat_template");
    out.info.has_chat_template = chat_template != config->end() && !chat_template->is_null();
    // Beside a tokenizer.json only: alone it makes no tokenizer.
    if (out.tokenizer.tokenizer_json) out.tokenizer.tokenizer_config_json = std::move(texts.tokenizer_config);
  }
  if (texts.has_template_file) out.info.has_chat_template = true;
  return {};
}

/// A model whose configuration is Hugging Face's. place: in front of the names of its texts in messages. open: its
/// tensors, looked at when the configuration is known to be sound.
template <typename Open>
Result<ModelDescription> describe_hf(HfTexts texts, const std::string& place, const std::string& path,
                                     WeightLayout layout, const Open& open) {
  const std::string config_path = place + "config.json";
  Result<JsonDocument> config = parse_json_object(texts.config, config_path);
  if (!config) return config.error();
  Result<Hyperparameters> hyper = read_hf_config(*config, config_path);
  if (!hyper) return hyper.error();
  Result<std::shared_ptr<const TensorFiles>> files = open();
  if (!files) return files.error();
  Result<BoundWeights> bound = bind_weights(*hyper, **files, layout, path);
  if (!bound) return bound.error();

  ModelDescription out;
  out.files = std::move(*files);
  out.config = std::move(hyper->config);
  out.weights = std::move(bound->sources);
  if (hyper->architecture->rotates) {
    Result<std::vector<double>> frequencies = inverse_frequencies(hyper->rope, out.config.head_dim, {}, config_path);
    if (!frequencies) return frequencies.error();
    out.config.rope_inv_freq = std::move(*frequencies);
  }
  fill_info(path, bound->used, out);
  if (Status read = read_generation_config(texts, *config, place, out); !read) return read.error();
  if (Status taken = take_tokenizer(texts, place, out); !taken) return taken.error();
  return out;
}

Result<ModelDescription> describe_directory(const std::string& directory) {
  Result<HfTexts> texts = read_hf_texts(directory);
  if (!texts) return texts.error();
  Result<ModelDescription> out = describe_hf(std::move(*texts), directory + "/", directory, WeightLayout::hugging_face,
                                             [&] { return open_safetensors(directory); });
  if (!out) return out;
  out->info.format = "safetensors";
  out->info.name = printable(base_name(directory));
  return out;
}

/// The divisors of rotary frequencies that a GGUF may hold; empty if it doesn't.
Result<std::vector<float>> read_rope_divisors(const TensorFiles& files, int head_dim,
                                              std::set<const TensorInfo*>& used) {
  const TensorInfo* const tensor = files.find("rope_freqs.weight");
  std::vector<float> divisors;
  if (tensor == nullptr) return divisors;
  used.insert(tensor);
  if (tensor->type != DType::f32 || tensor->shape != std::vector<int64_t>{head_dim / 2})
    return Error{ErrorCode::bad_format,
                 detail::format("{}: tensor 'rope_freqs.weight' is not F32 [{}]", files.path(*tensor), head_dim / 2)};
  divisors.resize(static_cast<size_t>(head_dim / 2));
  if (Status read = files.read(*tensor, 0, std::as_writable_bytes(std::span(divisors))); !read) return read.error();
  for (const float divisor : divisors)
    if (!std::isfinite(divisor) || divisor <= 0.0F)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tensor 'rope_freqs.weight' holds {}", files.path(*tensor), divisor)};
  return divisors;
}

std::optional<int32_t> token_id(GgufMetadata& metadata, const char* key, size_t n_tokens) {
  const std::optional<int64_t> id = metadata.integer(std::string("tokenizer.ggml.") + key);
  if (!id || *id < 0 || static_cast<uint64_t>(*id) >= n_tokens) return std::nullopt;
  return static_cast<int32_t>(*id);
}

Status read_vocabulary(GgufMetadata& metadata, ModelDescription& out) {
  const std::string chat_template = metadata.text("tokenizer.chat_template").value_or("");
  out.info.has_chat_template = !chat_template.empty();
  const std::string model = metadata.text("tokenizer.ggml.model").value_or("none");
  if (!metadata.status() || model == "none" || model == "no_vocab") return metadata.status();

  tokenizer::GgufVocabulary vocabulary;
  vocabulary.model = model;
  vocabulary.pre = metadata.text("tokenizer.ggml.pre").value_or("default");
  vocabulary.tokens = metadata.take_strings("tokenizer.ggml.tokens").value_or(std::vector<std::string>());
  vocabulary.merges = metadata.take_strings("tokenizer.ggml.merges").value_or(std::vector<std::string>());
  vocabulary.scores = metadata.floats("tokenizer.ggml.scores").value_or(std::vector<float>());
  const std::vector<int64_t> types = metadata.integers("tokenizer.ggml.token_type").value_or(std::vector<int64_t>());
  const size_t n_tokens = vocabulary.tokens.size();
  vocabulary.bos = token_id(metadata, "bos_token_id", n_tokens);
  vocabulary.eos = token_id(metadata, "eos_token_id", n_tokens);
  vocabulary.unk = token_id(metadata, "unknown_token_id", n_tokens);
  vocabulary.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = metadata.boolean("tokenizer.ggml.add_space_prefix");
  if (!metadata.status()) return metadata.status();

  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::bad_format, detail::format("{}: {}", metadata.path(), what)};
  };
  if (n_tokens == 0) return bad("tokenizer.ggml.tokens is missing or empty");
  if (n_tokens > static_cast<size_t>(out.config.vocab_size))
    return bad(detail::format("{} tokens for a vocabulary of {}", n_tokens, out.config.vocab_size));
  if (!vocabulary.scores.empty() && vocabulary.scores.size() != n_tokens)
    return bad(detail::format("{} scores for {} tokens", vocabulary.scores.size(), n_tokens));
  if (!types.empty() && types.size() != n_tokens)
    return bad(detail::format("{} token types for {} tokens", types.size(), n_tokens));
  for (const int64_t type : types) {
    if (type < 0 || type > 6) return bad(detail::format("a token of type {}", type));
    vocabulary.token_type.push_back(static_cast<int32_t>(type));
  }
  out.tokenizer.gguf = std::move(vocabulary);
  return {};
}

/// A tensor that nothing asked for would be left out of the result, so a file with one is another kind of model.
Status check_all_used(const TensorFiles& files, const std::set<const TensorInfo*>& used, const Hyperparameters& hyper) {
  for (const TensorInfo& tensor : files.tensors()) {
    const bool ignorable =
        tensor.name.ends_with(".attn_rot_embd.weight") || tensor.name.ends_with(".rope_freqs.weight");
    if (!used.contains(&tensor) && !ignorable)
      return Error{ErrorCode::unsupported,
                   detail::format("{}: tensor '{}' has no place in decant's {}", files.path(tensor),
                                  printable(tensor.name), hyper.architecture->name)};
  }
  return {};
}

/// What a packed file says of its source's weights; empty for other files.
Result<std::optional<uint64_t>> packed_fingerprint(GgufMetadata& metadata) {
  if (metadata.find(kPackedVersionKey) == nullptr) return std::optional<uint64_t>();
  const int64_t bits = metadata.required_integer(kPackedFingerprintKey);
  if (!metadata.status()) return metadata.status().error();
  return std::optional(static_cast<uint64_t>(bits));
}

Result<ModelDescription> describe_gguf(const std::string& path) {
  Result<GgufModel> model = open_gguf(path);
  if (!model) return model.error();
  GgufMetadata& metadata = model->metadata;
  Result<std::optional<uint64_t>> packed = packed_fingerprint(metadata);
  if (!packed) return packed.error();
  if (std::optional<HfTexts> texts = *packed ? hf_texts_of(metadata) : std::nullopt) {
    if (!metadata.status()) return metadata.status().error();
    Result<ModelDescription> out =
        describe_hf(std::move(*texts), path + ": ", path, WeightLayout::packed,
                    [&]() -> Result<std::shared_ptr<const TensorFiles>> { return model->files; });
    if (!out) return out;
    out->config.tied_head = out->info.tied_head = !out->weights.head;
    out->info.format = "packed";
    out->info.name = printable(metadata.text("general.name").value_or(base_name(path)));
    out->packed_fingerprint = *packed;
    return out;
  }
  const WeightLayout layout = *packed ? WeightLayout::packed : WeightLayout::gguf;
  Result<Hyperparameters> hyper = read_gguf_config(metadata);
  if (!hyper) return hyper.error();
  const TensorNames& names = tensor_names(*hyper->architecture, layout);
  const TensorInfo* const embedding = model->files->find(std::string(names.token_embedding) + ".weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] > kMaxCount)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: has no proper tensor '{}.weight'", path, names.token_embedding)};
  hyper->config.vocab_size = static_cast<int>(embedding->shape[0]);
  hyper->config.tied_head = model->files->find(std::string(names.head) + ".weight") == nullptr;
  Result<BoundWeights> bound = bind_weights(*hyper, *model->files, layout, path);
  if (!bound) return bound.error();

  ModelDescription out;
  out.config = std::move(hyper->config);
  out.weights = std::move(bound->sources);
  fill_info(path, bound->used, out);
  if (hyper->architecture->rotates) {
    Result<std::vector<float>> divisors = read_rope_divisors(*model->files, out.config.head_dim, bound->used);
    if (!divisors) return divisors.error();
    Result<std::vector<double>> frequencies = inverse_frequencies(hyper->rope, out.config.head_dim, *divisors, path);
    if (!frequencies) return frequencies.error();
    out.config.rope_inv_freq = std::move(*frequencies);
  }
  if (Status all_used = check_all_used(*model->files, bound->used, *hyper); !all_used) return all_used.error();
  out.files = std::move(model->files);
  out.info.format = *packed ? "packed" : "gguf";
  out.packed_fingerprint = *packed;
  out.info.name = printable(metadata.text("general.name").value_or(base_name(path)));
  out.defaults = generation_defaults(metadata);
  out.end_ids = within_vocabulary(gguf_end_ids(metadata), out.config.vocab_size);
  if (Status read = read_vocabulary(metadata, out); !read) return read.error();
  return out;
}

}  // namespace

Result<ModelDescription> describe(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0)
    return Error{ErrorCode::io, detail::format("{}: {}", path, std::generic_category().message(errno))};
  if (S_ISDIR(status.st_mode)) return describe_directory(path);
  if (path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json"))
    return Error{ErrorCode::invalid_argument,
                 detail::format("{}: pass the directory that holds it, its config.json is needed too", path)};
  return describe_gguf(path);
}

}  // namespace decant::model
