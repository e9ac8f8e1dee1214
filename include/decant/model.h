// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decant/export.h"
#include "decant/options.h"
#include "decant/result.h"
#include "decant/tokenizer.h"

namespace decant {

/// What a model is, for people and for planning.
struct ModelInfo {
  std::string path;
  std::string format;        ///< "gguf", "safetensors" or "packed"
  std::string architecture;  ///< "llama", "mistral", "qwen2", "qwen3", "gpt2"
  std::string name;          ///< as the file calls it; may be empty
  int n_layers = 0;
  int d_model = 0;
  int d_ff = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int n_ctx = 0;            ///< longest sequence the model was made for, in tokens
  int window = 0;           ///< tokens a sliding-window layer looks back; 0: every layer sees all
  int64_t n_params = 0;     ///< elements of all tensors, a tied head counted once
  size_t file_bytes = 0;    ///< bytes of the weights in the file
  size_t packed_bytes = 0;  ///< bytes of the weights in memory
  std::string fingerprint;  ///< of the weights and what is computed with them: 16 hexadecimal digits
  bool tied_head = false;
  bool has_chat_template = false;
};

/// What a generation_config.json or a GGUF's metadata asks for; empty where it is silent.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty;
  std::optional<int> top_k, no_repeat_ngram_size;
};

/// Where the time of open() went, in nanoseconds.
struct LoadTimes {
  int64_t metadata_ns = 0;   ///< headers, configuration
  int64_t tokenizer_ns = 0;  ///< by one thread, while others begin with the weights: within weights_ns
  int64_t weights_ns = 0;    ///< reading and packing; of a packed file that is mapped: bringing it into memory
  int n_threads = 0;         ///< that did the latter
  bool mapped = false;       ///< the weights lie in the file's own pages
};

/// A model in memory: weights packed for the kernels, tokenizer, defaults. Immutable; engines share it, from any
/// thread.
class DECANT_API Model {
 public:
  /// Opens a .gguf file (the first of a split one), a directory with config.json and *.safetensors, or a packed file
  /// (`decant quantize --packed`), which needs no packing and is mapped: see ModelOptions::map_packed.
  ///
  /// Errors: `io` (missing, unreadable), `bad_format` (truncated, corrupt, tensors that don't fit the configuration),
  /// `unsupported` (architecture or type, by name), `out_of_memory`, `cancelled`.
  static Result<std::shared_ptr<const Model>> open(const std::string& path, const ModelOptions& options = {});

  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelInfo& info() const noexcept;  ///< what it is
  /// What its files ask for. Nothing applies them by itself: SamplingParams has defaults of its own.
  const GenerationDefaults& generation_defaults() const noexcept;
  const LoadTimes& load_times() const noexcept;  ///< of its opening
  Numerics numerics() const noexcept;            ///< ModelOptions::numerics

  /// Ids that end a text: eos, eot and whatever else configuration, generation configuration or GGUF name.
  std::span<const int32_t> end_ids() const noexcept;

  /// The model's tokenizer; an Error that says why where the model has none that decant can read.
  Result<const Tokenizer*> tokenizer() const;

  struct DECANT_LOCAL Parts;  ///< weights and configuration, for the engine
  DECANT_LOCAL const Parts& parts() const noexcept;
  DECANT_LOCAL explicit Model(std::unique_ptr<const Parts> parts);  ///< for open()

 private:
  std::unique_ptr<const Parts> parts_;
};

}  // namespace decant
