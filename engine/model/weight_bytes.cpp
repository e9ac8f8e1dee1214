// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weight_bytes.h"

#include <numeric>

#include "engine/quant/format.h"

namespace decant::model {
namespace {

size_t bytes_of(const MatrixSource& source) {
  if (!source) return 0;
  if (source.tensor->in_tiles) return static_cast<size_t>(source.tensor->size_bytes);
  return static_cast<size_t>(source.rows) * quant::row_bytes(quant::format(source.tensor->type), source.cols);
}

size_t row_bytes_of(const MatrixSource& source) {
  return source ? bytes_of(source) / static_cast<size_t>(source.rows) : 0;
}

size_t bytes_of(const VectorSource& source) {
  return source ? quant::row_bytes(quant::format(source.tensor->type), source.size) : 0;
}

template <typename... Sources>
size_t sum(const Sources&... sources) {
  return (... + bytes_of(sources));
}

}  // namespace

size_t WeightBytes::per_token() const {
  size_t total = std::accumulate(once.begin(), once.end(), size_t{0});
  for (const PerOp& layer : layers) total = std::accumulate(layer.begin(), layer.end(), total);
  return total;
}

WeightBytes weight_bytes(const ModelDescription& model) {
  const auto at = [](WeightBytes::PerOp& bytes, Op op) -> size_t& { return bytes[static_cast<size_t>(op)]; };
  const WeightSources& w = model.weights;
  WeightBytes bytes;
  at(bytes.once, Op::embed) = row_bytes_of(w.position_embedding) + (w.head ? row_bytes_of(w.token_embedding) : 0);
  at(bytes.once, Op::output_norm) = sum(w.out_norm, w.out_norm_bias);
  at(bytes.once, Op::head) = bytes_of(w.head ? w.head : w.token_embedding);
  for (const LayerSources& layer : w.layers) {
    WeightBytes::PerOp& ops = bytes.layers.emplace_back();
    at(ops, Op::attn_norm) = sum(layer.attn_norm, layer.attn_norm_bias);
    at(ops, Op::qkv) = sum(layer.q, layer.k, layer.v, layer.q_bias, layer.k_bias, layer.v_bias);
    at(ops, Op::kv_append) = sum(layer.q_norm, layer.k_norm);
    at(ops, Op::attn_output) = sum(layer.o, layer.o_bias);
    at(ops, Op::ffn_norm) = sum(layer.ffn_norm, layer.ffn_norm_bias);
    at(ops, Op::ffn_up) = sum(layer.gate, layer.up, layer.gate_bias, layer.up_bias);
    at(ops, Op::ffn_down) = sum(layer.down, layer.down_bias);
  }
  return bytes;
}

}  // namespace decant::model
