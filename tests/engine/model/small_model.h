// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/model/gguf_bytes.h"

namespace decant::test {

// A llama of one layer, 32 wide, with 24 tokens: the smallest header with everything in it.

inline constexpr int kSmallVocab = 24;

struct SmallTensor {
  const char* gguf;
  const char* hf;
  std::vector<uint64_t> shape;  // outermost first
};

inline const std::vector<SmallTensor>& small_tensors() {
  static const std::vector<SmallTensor> kTensors = {
      {"token_embd.weight", "model.embed_tokens.weight", {kSmallVocab, 32}},
      {"output_norm.weight", "model.norm.weight", {32}},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", {32}},
      {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", {32, 32}},
      {"blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", {16, 32}},
      {"blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", {16, 32}},
      {"blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", {32, 32}},
      {"blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", {32}},
      {"blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", {64, 32}},
      {"blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", {64, 32}},
      {"blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", {32, 64}},
  };
  return kTensors;
}

inline void add_small_metadata(GgufBytes& out) {
  out.str("general.architecture", "llama").str("general.name", "small");
  out.u32("llama.block_count", 1).u32("llama.context_length", 64).u32("llama.embedding_length", 32);
  out.u32("llama.feed_forward_length", 64).u32("llama.attention.head_count", 2);
  out.array("llama.attention.head_count_kv", 5, 1, GgufBytes::raw(int32_t{1}));
  out.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F).pair("llama.rope.freq_base", 12, GgufBytes::raw(10000.0));
  out.pair("llama.attention.sliding_window", 10, GgufBytes::raw(uint64_t{16}));
  out.f32("general.sampling.temp", 0.5F).i32("general.sampling.top_k", 5);
  std::string tokens, types, scores;
  for (int i = 0; i < kSmallVocab; ++i) {
    tokens += GgufBytes::text(std::string(1, static_cast<char>('a' + i)));
    types += GgufBytes::raw(int32_t{1});
    scores += GgufBytes::raw(-static_cast<float>(i));
  }
  out.str("tokenizer.ggml.model", "llama").array("tokenizer.ggml.tokens", 8, kSmallVocab, tokens);
  out.array("tokenizer.ggml.token_type", 5, kSmallVocab, types).array("tokenizer.ggml.scores", 6, kSmallVocab, scores);
  out.u32("tokenizer.ggml.eos_token_id", 2).pair("tokenizer.ggml.add_bos_token", 7, GgufBytes::raw(uint8_t{0}));
}

/// Adds tensors [first, last) of the list, vectors F32 and matrices Q8_0.
inline void add_small_tensors(GgufBytes& out, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    const SmallTensor& tensor = small_tensors()[i];
    const bool matrix = tensor.shape.size() == 2;
    const uint64_t n = tensor.shape.back() * (matrix ? tensor.shape.front() : 1);
    std::string data;
    for (uint64_t k = 0; k < (matrix ? n / 32 * 34 : n * 4); ++k) data += static_cast<char>((k * 7 + i) % 60);
    out.tensor(tensor.gguf, {tensor.shape.rbegin(), tensor.shape.rend()}, matrix ? 8 : 0, data);
  }
}

inline GgufBytes small_gguf() {
  GgufBytes out;
  add_small_metadata(out);
  add_small_tensors(out, 0, small_tensors().size());
  return out;
}

inline const char* small_config() {
  return R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "vocab_size": 24, "head_dim": 16,
 "rms_norm_eps": 1e-05, "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
 "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}, "tie_word_embeddings": true,
 "eos_token_id": [2, 3], "layer_types": null, "attention_bias": false, "hidden_act": "silu"})";
}

/// A safetensors file of F32 zeros with tensors [first, last) of the list.
inline std::string small_safetensors(size_t first, size_t last) {
  auto header = nlohmann::json::object();
  size_t end = 0;
  for (size_t i = first; i < last; ++i) {
    const SmallTensor& tensor = small_tensors()[i];
    size_t n = 4;
    for (const uint64_t extent : tensor.shape) n *= extent;
    header[tensor.hf] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {end, end + n}}};
    end += n;
  }
  const std::string text = header.dump();
  return GgufBytes::raw(static_cast<uint64_t>(text.size())) + text + std::string(end, '\0');
}

}  // namespace decant::test
