// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "engine/model/model_config.h"

namespace decant::model {

/// What the tensors of a family are called, without ".weight" and ".bias". Null: the family has none.
struct TensorNames {
  const char* token_embedding;
  const char* position_embedding;
  const char* out_norm;
  const char* head;
  const char* layer;  ///< in front of the names below, "{}" is the layer's number
  const char* attn_norm;
  const char* qkv;  ///< q, k and v as one matrix; looked for before the three
  const char* q;
  const char* k;
  const char* v;
  const char* o;
  const char* q_norm;
  const char* k_norm;
  const char* ffn_norm;
  const char* gate_up;  ///< gate and up as one matrix; looked for before the two
  const char* gate;
  const char* up;
  const char* down;
  bool transposed;  ///< matrices of the layers are [cols, rows]
};

/// What config.json calls the counts of a family.
struct ConfigKeys {
  const char* d_model;
  const char* d_ff;
  const char* n_layers;
  const char* n_heads;
  const char* n_ctx;
  const char* norm_eps;
  const char* activation;
};

/// Which layers of a family look back a window only, as config.json says it.
enum class WindowRule {
  none,         ///< a family without windows
  every_layer,  ///< sliding_window, in every layer
  from_layer,   ///< sliding_window if use_sliding_window, in layers from max_window_layers
};

enum class Presence { none, optional, required };

/// A family of models: rows of one table. The forward pass knows none of them.
struct Architecture {
  const char* name;       ///< model_type of config.json, general.architecture of GGUF
  bool in_gguf;           ///< false: GGUF has it under another name
  const char* gguf_name;  ///< what the converter writes
  NormKind norm;
  FfnKind ffn;
  bool rotates;     ///< rotary positions; else learned ones
  bool head_norms;  ///< norms of q and k
  Presence qkv_bias, o_bias, ffn_bias;
  bool gguf_interleaved;  ///< GGUF has rotary pairs of q and k side by side
  bool gguf_window;       ///< attention.sliding_window of GGUF counts for every layer
  const ConfigKeys* keys;
  const TensorNames* hf;
  const TensorNames* gguf;
  // What transformers takes for keys that config.json leaves out.
  WindowRule window_rule;
  int default_kv_heads;  ///< 0: n_heads
  int default_head_dim;  ///< 0: d_model / n_heads
  bool default_tied;
};

/// What packed files call tensors, of whatever family: as GGUF does, none of them fused.
const TensorNames& packed_names() noexcept;

/// By model_type; null for one decant lacks.
const Architecture* find_hf_architecture(std::string_view name) noexcept;
/// By general.architecture.
const Architecture* find_gguf_architecture(std::string_view name) noexcept;

/// "llama, mistral, …", for messages.
std::string hf_architecture_names();
std::string gguf_architecture_names();

}  // namespace decant::model
