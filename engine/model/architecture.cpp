// SPDX-License-Identifier: Apache-2.0
#include "engine/model/architecture.h"

namespace decant::model {

namespace {

constexpr ConfigKeys kKeys = {
    .d_model = "hidden_size",
    .d_ff = "intermediate_size",
    .n_layers = "num_hidden_layers",
    .n_heads = "num_attention_heads",
    .n_ctx = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .activation = "hidden_act",
};

constexpr ConfigKeys kGpt2Keys = {
    .d_model = "n_embd",
    .d_ff = "n_inner",
    .n_layers = "n_layer",
    .n_heads = "n_head",
    .n_ctx = "n_positions",
    .norm_eps = "layer_norm_epsilon",
    .activation = "activation_function",
};

constexpr TensorNames kLlamaNames = {
    .token_embedding = "embed_tokens",
    .position_embedding = nullptr,
    .out_norm = "norm",
    .head = "lm_head",
    .layer = "layers.{}.",
    .attn_norm = "input_layernorm",
    .qkv = nullptr,
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .ffn_norm = "post_attention_layernorm",
    .gate_up = nullptr,
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .transposed = false,
};

constexpr TensorNames kGpt2Names = {
    .token_embedding = "wte",
    .position_embedding = "wpe",
    .out_norm = "ln_f",
    .head = "lm_head",
    .layer = "h.{}.",
    .attn_norm = "ln_1",
    .qkv = "attn.c_attn",
    .q = nullptr,
    .k = nullptr,
    .v = nullptr,
    .o = "attn.c_proj",
    .q_norm = nullptr,
    .k_norm = nullptr,
    .ffn_norm = "ln_2",
    .gate_up = nullptr,
    .gate = nullptr,
    .up = "mlp.c_fc",
    .down = "mlp.c_proj",
    .transposed = true,
};

constexpr TensorNames kGgufNames = {
    .token_embedding = "token_embd",
    .position_embedding = "position_embd",
    .out_norm = "output_norm",
    .head = "output",
    .layer = "blk.{}.",
    .attn_norm = "attn_norm",
    .qkv = "attn_qkv",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .q_norm = "attn_q_norm",
    .k_norm = "attn_k_norm",
    .ffn_norm = "ffn_norm",
    .gate_up = nullptr,
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .transposed = false,
};

constexpr TensorNames kPackedNames = [] {
  TensorNames names = kGgufNames;
  names.qkv = nullptr;
  return names;
}();

constexpr Architecture kArchitectures[] = {
    {.name = "llama",
     .in_gguf = true,
     .gguf_name = "llama",
     .norm = NormKind::rms,
     .ffn = FfnKind::silu_gated,
     .rotates = true,
     .head_norms = false,
     .qkv_bias = Presence::optional,
     .o_bias = Presence::optional,
     .ffn_bias = Presence::optional,
     .gguf_interleaved = true,
     .gguf_window = true,
     .keys = &kKeys,
     .hf = &kLlamaNames,
     .gguf = &kGgufNames,
     .window_rule = WindowRule::none,
     .default_kv_heads = 0,
     .default_head_dim = 0,
     .default_tied = false},
    {.name = "mistral",
     .in_gguf = false,
     .gguf_name = "llama",
     .norm = NormKind::rms,
     .ffn = FfnKind::silu_gated,
     .rotates = true,
     .head_norms = false,
     .qkv_bias = Presence::none,
     .o_bias = Presence::none,
     .ffn_bias = Presence::none,
     .gguf_interleaved = true,
     .gguf_window = true,
     .keys = &kKeys,
     .hf = &kLlamaNames,
     .gguf = &kGgufNames,
     .window_rule = WindowRule::every_layer,
     .default_kv_heads = 8,
     .default_head_dim = 0,
     .default_tied = false},
    {.name = "qwen2",
     .in_gguf = true,
     .gguf_name = "qwen2",
     .norm = NormKind::rms,
     .ffn = FfnKind::silu_gated,
     .rotates = true,
     .head_norms = false,
     .qkv_bias = Presence::required,
     .o_bias = Presence::none,
     .ffn_bias = Presence::none,
     .gguf_interleaved = false,
     .gguf_window = false,
     .keys = &kKeys,
     .hf = &kLlamaNames,
     .gguf = &kGgufNames,
     .window_rule = WindowRule::from_layer,
     .default_kv_heads = 32,
     .default_head_dim = 0,
     .default_tied = false},
    {.name = "qwen3",
     .in_gguf = true,
     .gguf_name = "qwen3",
     .norm = NormKind::rms,
     .ffn = FfnKind::silu_gated,
     .rotates = true,
     .head_norms = true,
     .qkv_bias = Presence::optional,
     .o_bias = Presence::optional,
     .ffn_bias = Presence::none,
     .gguf_interleaved = false,
     .gguf_window = false,
     .keys = &kKeys,
     .hf = &kLlamaNames,
     .gguf = &kGgufNames,
     .window_rule = WindowRule::from_layer,
     .default_kv_heads = 32,
     .default_head_dim = 128,
     .default_tied = false},
    {.name = "gpt2",
     .in_gguf = true,
     .gguf_name = "gpt2",
     .norm = NormKind::layer,
     .ffn = FfnKind::gelu_tanh,
     .rotates = false,
     .head_norms = false,
     .qkv_bias = Presence::required,
     .o_bias = Presence::required,
     .ffn_bias = Presence::required,
     .gguf_interleaved = false,
     .gguf_window = false,
     .keys = &kGpt2Keys,
     .hf = &kGpt2Names,
     .gguf = &kGgufNames,
     .window_rule = WindowRule::none,
     .default_kv_heads = 0,
     .default_head_dim = 0,
     .default_tied = true},
};

std::string joined_names(bool only_gguf) {
  std::string names;
  for (const Architecture& row : kArchitectures) {
    if (only_gguf && !row.in_gguf) continue;
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

}  // namespace

const TensorNames& packed_names() noexcept { return kPackedNames; }

const Architecture* find_hf_architecture(std::string_view name) noexcept {
  for (const Architecture& row : kArchitectures)
    if (name == row.name) return &row;
  return nullptr;
}

const Architecture* find_gguf_architecture(std::string_view name) noexcept {
  for (const Architecture& row : kArchitectures)
    if (row.in_gguf && name == row.name) return &row;
  return nullptr;
}

std::string hf_architecture_names() { return joined_names(false); }
std::string gguf_architecture_names() { return joined_names(true); }

}  // namespace decant::model
