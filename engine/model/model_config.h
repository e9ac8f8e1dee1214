// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decant/model.h"

#include "engine/model/model_file.h"
#include "engine/tokenizer/tokenizer_source.h"

namespace decant::model {

enum class NormKind { rms, layer };
enum class FfnKind { silu_gated, gelu_tanh };  ///< W_down(silu(W_gate h) ⊙ W_up h); W_down gelu_tanh(W_up h)

struct LayerConfig {
  int n_kv_heads = 0;
  int window = 0;  ///< 0: attends to everything before
};

/// The hyperparameters of a transformer, as the forward pass wants them. Every count is checked: positive, and small
/// enough that products of them fit their types.
struct ModelConfig {
  std::string architecture;
  int d_model = 0;
  int d_ff = 0;
  int n_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int n_ctx = 0;
  std::vector<LayerConfig> layers;
  NormKind norm = NormKind::rms;
  float norm_eps = 1e-5F;
  FfnKind ffn = FfnKind::silu_gated;
  float attention_scale = 0.0F;       ///< 1/sqrt(head_dim)
  std::vector<double> rope_inv_freq;  ///< [rope_dim / 2] with scaling applied; empty: no rotation
  bool tied_head = false;
};

/// Rows of a tensor that make one matrix [rows, cols].
struct MatrixSource {
  const TensorInfo* tensor = nullptr;  ///< null: the model has none
  int64_t row_begin = 0;               ///< first row within the tensor (fused q|k|v)
  int64_t rows = 0;
  int64_t cols = 0;
  bool transposed = false;  ///< the tensor is [cols, all rows] (GPT-2's Conv1D)
  /// > 0: rows come in heads of this many with rotary pairs side by side (GGUF's llama). Ours are half a head apart:
  /// our row i of a head is the file's row 2·i for i < half, else 2·(i − half) + 1, where half = interleaved / 2.
  int interleaved = 0;
  explicit operator bool() const { return tensor != nullptr; }
};

/// A vector of `size` floats; `begin` and `interleaved` as for rows of a matrix.
struct VectorSource {
  const TensorInfo* tensor = nullptr;
  int64_t begin = 0;
  int64_t size = 0;
  int interleaved = 0;
  explicit operator bool() const { return tensor != nullptr; }
};

struct LayerSources {
  VectorSource attn_norm, attn_norm_bias;
  MatrixSource q, k, v, o;
  VectorSource q_bias, k_bias, v_bias, o_bias;
  VectorSource q_norm, k_norm;  ///< [head_dim], RMS over a head, before rotation
  VectorSource ffn_norm, ffn_norm_bias;
  MatrixSource gate, up, down;
  VectorSource gate_bias, up_bias, down_bias;
};

struct WeightSources {
  MatrixSource token_embedding;     ///< [vocab, d_model]
  MatrixSource position_embedding;  ///< [n_ctx, d_model] or none
  std::vector<LayerSources> layers;
  VectorSource out_norm, out_norm_bias;
  MatrixSource head;  ///< [vocab, d_model]; none when tied
};

/// A model as its files describe it: everything but the weights' values.
struct ModelDescription {
  ModelInfo info;  ///< packed_bytes still 0
  ModelConfig config;
  WeightSources weights;  ///< point into `files`
  std::shared_ptr<const TensorFiles> files;
  GenerationDefaults defaults;
  std::vector<int32_t> end_ids;
  tokenizer::TokenizerSource tokenizer;
  std::optional<uint64_t> packed_fingerprint;  ///< of a packed file's source (packed_format.h); empty for other files
};

/// Reads a .gguf file (first of a split one, or the only one) or a directory of config.json and safetensors.
/// Errors as Model::open. Checks every tensor's shape against the configuration.
Result<ModelDescription> describe(const std::string& path);

}  // namespace decant::model
