// SPDX-License-Identifier: Apache-2.0
#include "decant/model.h"

#include <chrono>

#include "decant/detail/fp_state.h"
#include "decant/detail/log.h"

#include "cache/checksum.h"
#include "engine/model/model_parts.h"
#include "engine/thread_pool.h"

namespace decant {

namespace {

/// Nanoseconds since the last call.
class Lap {
 public:
  int64_t operator()() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Of the weights, and of what the configuration alone says of how they are used.
uint64_t fingerprint(const model::ModelConfig& config, uint64_t weights) {
  std::string text = detail::format("{} {} {} {} {} {} {} {} {}", config.architecture, config.d_model, config.d_ff,
                                    config.n_heads, config.head_dim, static_cast<int>(config.norm), config.norm_eps,
                                    static_cast<int>(config.ffn), config.attention_scale);
  for (const model::LayerConfig& layer : config.layers)
    text += detail::format(" {} {}", layer.n_kv_heads, layer.window);
  for (const double frequency : config.rope_inv_freq) text += detail::format(" {}", frequency);
  return cache::checksum(std::as_bytes(std::span(text)), weights);
}

Result<std::shared_ptr<const Model>> open_model(const std::string& path, const ModelOptions& options) {
  const detail::FpState fp_state;
  const detail::Log log("model", options.log);
  if (options.n_threads < 0 || options.n_threads > 1024)
    return Error{ErrorCode::invalid_argument,
                 detail::format("n_threads is {}; 0 to 1024 is possible", options.n_threads)};
  Lap lap;
  Result<model::ModelDescription> description = model::describe(path);
  if (!description) return description.error();
  auto parts = std::make_unique<Model::Parts>();
  parts->load_times.metadata_ns = lap();

  Result<std::unique_ptr<ThreadPool>> pool =
      ThreadPool::create(options.n_threads > 0 ? options.n_threads : default_thread_count());
  if (!pool) return pool.error();
  // The tokenizer keeps one thread busy, which the weights can do without.
  Result<std::unique_ptr<Tokenizer>> tokenizer = Error{ErrorCode::out_of_memory, "no memory for the tokenizer"};
  const auto make_tokenizer = [&]() noexcept {
    Lap own_lap;
    try {
      tokenizer = tokenizer::make_tokenizer(description->tokenizer);
      description->tokenizer = {};
    } catch (const std::bad_alloc&) {  // the error that stands there already
    }
    parts->load_times.tokenizer_ns = own_lap();
  };
  Result<model::Weights> weights = model::load_weights(*description, options, **pool, make_tokenizer);
  if (!weights) return weights.error();
  if (!tokenizer && tokenizer.error().code == ErrorCode::out_of_memory) return tokenizer.error();
  parts->weights = std::move(*weights);
  if (tokenizer) {
    parts->tokenizer = std::move(*tokenizer);
    parts->tokenizer_bytes = parts->tokenizer->size_bytes();
  } else {
    parts->tokenizer_error = tokenizer.error();
    log.warn("no tokenizer: {}", tokenizer.error().message);
  }
  parts->load_times.weights_ns = lap();
  parts->load_times.n_threads = (*pool)->n_threads();
  parts->load_times.mapped = description->packed_fingerprint.has_value() && options.map_packed;

  parts->weight_bytes = model::weight_bytes(*description);
  parts->info = std::move(description->info);
  parts->info.packed_bytes = parts->weights.packed_bytes;
  parts->config = std::move(description->config);
  parts->info.fingerprint = detail::format("{:016x}", fingerprint(parts->config, parts->weights.fingerprint));
  parts->defaults = description->defaults;
  parts->end_ids = std::move(description->end_ids);
  parts->numerics = options.numerics;
  const ModelInfo& info = parts->info;
  const LoadTimes& times = parts->load_times;
  const auto ms = [](int64_t ns) { return static_cast<double>(ns) / 1e6; };
  log.info("{}: {} with {} layers, {} parameters, {} bytes of weights {} {}", path, info.architecture, info.n_layers,
           info.n_params, info.file_bytes, times.mapped ? "mapped as" : "packed into", info.packed_bytes);
  log.info("{}: opened by {} threads in {:.1f} ms: metadata {:.1f}, weights {:.1f} and, beside them, tokenizer {:.1f}",
           path, times.n_threads, ms(times.metadata_ns + times.weights_ns), ms(times.metadata_ns), ms(times.weights_ns),
           ms(times.tokenizer_ns));
  return std::shared_ptr<const Model>(std::make_shared<const Model>(std::move(parts)));
}

}  // namespace

const char* to_string(Numerics numerics) noexcept {
  switch (numerics) {
    case Numerics::exact:
      return "exact";
    case Numerics::reference:
      return "reference";
    case Numerics::fast:
      return "fast";
  }
  return "unknown";
}

Result<std::shared_ptr<const Model>> Model::open(const std::string& path, const ModelOptions& options) {
  try {
    return open_model(path, options);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "out of memory"};  // short enough to need none
  }
}

Model::Model(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Model::~Model() = default;

const ModelInfo& Model::info() const noexcept { return parts_->info; }
const GenerationDefaults& Model::generation_defaults() const noexcept { return parts_->defaults; }
const LoadTimes& Model::load_times() const noexcept { return parts_->load_times; }
Numerics Model::numerics() const noexcept { return parts_->numerics; }
std::span<const int32_t> Model::end_ids() const noexcept { return parts_->end_ids; }
const Model::Parts& Model::parts() const noexcept { return *parts_; }

Result<const Tokenizer*> Model::tokenizer() const {
  if (!parts_->tokenizer) return parts_->tokenizer_error;
  return parts_->tokenizer.get();
}

}  // namespace decant
