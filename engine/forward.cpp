// SPDX-License-Identifier: Apache-2.0
#include "engine/forward.h"

#include <algorithm>
#include <array>

#include "decant/detail/format.h"

#include "cache/kernels/rope.h"
#include "engine/kernels/dispatch.h"
#include "engine/kernels/gemm_onednn.h"

namespace decant {

namespace {

constexpr int kRowsPerPiece = 8;                        // tokens of a piece of row-wise work
constexpr size_t kPieceBytes = size_t{64} << 10;        // weight bytes of a piece of a product of one token
constexpr size_t kBatchPieceBytes = size_t{128} << 10;  // … of more
constexpr int kOnednnTiles = 64;                        // tiles of a piece that goes to oneDNN
constexpr int kBlockTiles = quant::kBlock / quant::kTileRows;

enum Fault { kActivations = 1, kCacheOverflow = 2 };

int ceil_div(int a, int b) { return (a + b - 1) / b; }
int round_up(int n, int multiple) { return ceil_div(n, multiple) * multiple; }

/// Whether any matrix that reads the activations is quantized.
template <typename... Matrices>
bool reads_quantized(const std::vector<model::LayerWeights>& layers, Matrices... matrices) {
  return std::any_of(layers.begin(), layers.end(), [&](const model::LayerWeights& layer) {
    return (... || ((layer.*matrices) && (layer.*matrices).format->quantized));
  });
}

Attention::Shape attention_shape(const model::ModelConfig& config, const Forward::Limits& limits) {
  Attention::Shape shape;
  shape.n_heads = config.n_heads;
  shape.max_step_tokens = limits.max_step_tokens;
  shape.max_sequences = limits.max_sequences;
  shape.n_ctx = limits.n_ctx;
  shape.min_kv_heads = shape.max_kv_heads = config.layers.front().n_kv_heads;
  for (const model::LayerConfig& layer : config.layers) {
    shape.min_kv_heads = std::min(shape.min_kv_heads, layer.n_kv_heads);
    shape.max_kv_heads = std::max(shape.max_kv_heads, layer.n_kv_heads);
  }
  shape.k_dim = shape.v_dim = config.head_dim;
  return shape;
}

}  // namespace

Forward::Forward(const Model::Parts& model, const Limits& limits, Isa isa, ThreadPool& pool)
    : config_(model.config),
      weights_(model.weights),
      kernels_(kernels::table(isa)),
      pool_(pool),
      attention_(attention_shape(config_, limits), isa, pool.n_threads()),
      kv_width_(0) {
  using Layer = model::LayerWeights;
  for (const model::LayerConfig& layer : config_.layers)
    kv_width_ = std::max(kv_width_, layer.n_kv_heads * config_.head_dim);
  const int tokens = limits.max_step_tokens, q_width = config_.n_heads * config_.head_dim;
  const auto buffer = [](int rows, ptrdiff_t stride) {
    return detail::AlignedBuffer<float>(static_cast<size_t>(rows) * static_cast<size_t>(stride));
  };
  x_ = Activations(tokens, config_.d_model, false);
  h_ = Activations(tokens, config_.d_model,
                   reads_quantized(weights_.layers, &Layer::q, &Layer::k, &Layer::v, &Layer::gate, &Layer::up));
  attention_out_ = Activations(tokens, q_width, reads_quantized(weights_.layers, &Layer::o));
  ffn_hidden_ = Activations(tokens, config_.d_ff, reads_quantized(weights_.layers, &Layer::down));
  head_in_ = Activations(limits.max_logit_rows, config_.d_model, weights_.head.format->quantized);

  if (model.numerics == Numerics::fast) {
    const int cols = std::max({config_.d_model, q_width, config_.d_ff});
    onednn_bytes_ = kernels::onednn_scratch_bytes(tokens, kOnednnTiles, cols);
    onednn_scratch_ = detail::AlignedBuffer<std::byte>(onednn_bytes_ * static_cast<size_t>(pool.n_threads()));
  }

  // Outputs of products come in whole tiles.
  q_stride_ = round_up(q_width, quant::kTileRows);
  kv_stride_ = round_up(kv_width_, quant::kTileRows);
  gate_stride_ = round_up(config_.d_ff, quant::kTileRows);
  delta_stride_ = round_up(config_.d_model, quant::kTileRows);
  logits_stride_ = round_up(config_.vocab_size, quant::kTileRows);
  q_ = buffer(tokens, q_stride_);
  k_ = buffer(tokens, kv_stride_);
  v_ = buffer(tokens, kv_stride_);
  gate_ = buffer(tokens, gate_stride_);
  up_ = buffer(tokens, gate_stride_);
  delta_ = buffer(tokens, delta_stride_);
  logits_ = buffer(limits.max_logit_rows, logits_stride_);
  cos_ = buffer(tokens, static_cast<ptrdiff_t>(config_.rope_inv_freq.size()));
  sin_ = buffer(tokens, static_cast<ptrdiff_t>(config_.rope_inv_freq.size()));
}

MemoryStats Forward::memory() const noexcept {
  const auto sum = [](const auto&... buffers) { return (... + buffers.size_bytes()); };
  MemoryStats stats;
  stats.activation_bytes =
      sum(x_, h_, attention_out_, ffn_hidden_, head_in_, q_, k_, v_, gate_, up_, delta_, cos_, sin_, onednn_scratch_);
  stats.attention_bytes = attention_.size_bytes();
  stats.logits_bytes = logits_.size_bytes();
  return stats;
}

Result<LogitsView> Forward::run(const StepPlan& plan, const cache::KvCache& cache, const StopCondition& stop) {
  n_tokens_ = plan.n_tokens();
  faults_.store(0, std::memory_order_relaxed);
  now(Op::embed);
  embed(plan);
  now(Op::rotation);
  rotations(plan);
  for (int layer = 0; layer < static_cast<int>(config_.layers.size()); ++layer) {
    if (stop.requested()) return Error{ErrorCode::cancelled, "the step was cancelled"};
    attention_block(plan, cache, layer);
    ffn_block(layer);
    if (Status finite = check(layer); !finite) return finite.error();
    if (probe_ != nullptr)
      probe_->after_layer(plan, layer, x_.row(0), x_.stride(), attention_out_.row(0), attention_out_.stride());
  }
  if (plan.n_logit_rows > 0) {
    if (stop.requested()) return Error{ErrorCode::cancelled, "the step was cancelled"};
    project_logits(plan);
    if (faults_.load(std::memory_order_relaxed) != 0)
      return Error{ErrorCode::non_finite, "a NaN or an infinity appeared in the logits"};
  }
  return LogitsView{logits_.data(), logits_stride_, plan.n_logit_rows};
}

Status Forward::check(int layer) const {
  const int faults = faults_.load(std::memory_order_relaxed);
  if (faults == 0) return {};
  if ((faults & kCacheOverflow) != 0)
    return Error{ErrorCode::non_finite,
                 detail::format("layer {}: a key or value is not finite or too large for the cache's type", layer)};
  return Error{ErrorCode::non_finite,
               detail::format("layer {}: a NaN or an infinity appeared in the activations", layer)};
}

// x = E[token] (+ P[pos])
void Forward::embed(const StepPlan& plan) {
  const auto embed_entry = [&](const PlanEntry& entry, int i) {
    const int row = entry.first_row + i;
    weights_.token_embedding.row(plan.token_ids[static_cast<size_t>(row)], x_.row(row));
    if (!weights_.position_embedding) return;
    weights_.position_embedding.row(entry.first_pos + i, delta_.data() + row * delta_stride_);
    kernels_.add(x_.row(row), delta_.data() + row * delta_stride_, config_.d_model);
  };
  for (const PlanEntry& entry : plan.entries)
    pool_.for_each(ceil_div(entry.n_tokens, kRowsPerPiece), [&](int piece, int) {
      const int end = std::min((piece + 1) * kRowsPerPiece, entry.n_tokens);
      for (int i = piece * kRowsPerPiece; i < end; ++i) embed_entry(entry, i);
    });
}

// cos and sin of pos · inv_freq, the same for every layer and head
void Forward::rotations(const StepPlan& plan) {
  const int half = static_cast<int>(config_.rope_inv_freq.size());
  if (half == 0) return;
  for (const PlanEntry& entry : plan.entries)
    pool_.for_each(ceil_div(entry.n_tokens, kRowsPerPiece), [&](int piece, int) {
      const int end = std::min((piece + 1) * kRowsPerPiece, entry.n_tokens);
      for (int i = piece * kRowsPerPiece; i < end; ++i) {
        const ptrdiff_t at = static_cast<ptrdiff_t>(entry.first_row + i) * half;
        kernels::rope_angles(config_.rope_inv_freq.data(), half, entry.first_pos + i, cos_.data() + at,
                             sin_.data() + at);
      }
    });
}

// x += W_o attention(rope(W_q h), rope(W_k h), W_v h), h = norm(x)
void Forward::attention_block(const StepPlan& plan, const cache::KvCache& cache, int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const model::LayerConfig& c = config_.layers[static_cast<size_t>(layer)];
  now(Op::attn_norm, layer);
  norm_rows(w.attn_norm, w.attn_norm_bias);
  const std::array<Product, 3> qkv = {Product{&w.q, &w.q_bias, q_.data(), q_stride_},
                                      Product{&w.k, &w.k_bias, k_.data(), kv_stride_},
                                      Product{&w.v, &w.v_bias, v_.data(), kv_stride_}};
  now(Op::qkv, layer);
  products(qkv, h_, n_tokens_, [](const Product&, int, int) {});
  now(Op::kv_append, layer);
  append_keys_and_values(plan, cache, layer);

  cache::AttentionParams params;
  params.scale = config_.attention_scale;
  params.window = c.window;
  now(Op::attention, layer);
  attention_.run(pool_, cache, plan, layer, c.n_kv_heads, params, q_.data(), q_stride_, attention_out_.row(0),
                 attention_out_.stride());
  now(Op::attn_output, layer);
  quantize_rows(attention_out_);
  products_into_residual(w.o, w.o_bias, attention_out_);
}

// Norms and rotates q and k, and writes k and v to their slots.
void Forward::append_keys_and_values(const StepPlan& plan, const cache::KvCache& cache, int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int n_kv_heads = config_.layers[static_cast<size_t>(layer)].n_kv_heads, dim = config_.head_dim;
  const int half = static_cast<int>(config_.rope_inv_freq.size());
  const auto normalize_heads = [&](float* heads, int n, const model::Vector& norm) {
    if (norm.size() == 0) return;
    for (float* x = heads; x < heads + static_cast<ptrdiff_t>(n) * dim; x += dim)
      kernels_.rms_norm(x, norm.data(), dim, config_.norm_eps, x);
  };
  const auto rotate_heads = [&](float* heads, int n, int row) {
    if (half == 0) return;
    const ptrdiff_t at = static_cast<ptrdiff_t>(row) * half;
    for (float* x = heads; x < heads + static_cast<ptrdiff_t>(n) * dim; x += dim)
      kernels_.rope(x, cos_.data() + at, sin_.data() + at, half);
  };
  for (const PlanEntry& entry : plan.entries)
    pool_.for_each(ceil_div(entry.n_tokens, kRowsPerPiece), [&](int piece, int) {
      const int end = std::min((piece + 1) * kRowsPerPiece, entry.n_tokens);
      for (int i = piece * kRowsPerPiece; i < end; ++i) {
        const int row = entry.first_row + i, pos = entry.first_pos + i;
        float* const q = q_.data() + row * q_stride_;
        float* const k = k_.data() + row * kv_stride_;
        normalize_heads(q, config_.n_heads, w.q_norm);
        normalize_heads(k, n_kv_heads, w.k_norm);
        if (pos < entry.n_sinks) cache.write_sink(entry.sequence, layer, pos, k);
        rotate_heads(q, config_.n_heads, row);
        rotate_heads(k, n_kv_heads, row);
        if (!cache.write(entry.sequence, layer, pos, k, v_.data() + row * kv_stride_)) fail(kCacheOverflow);
      }
    });
}

// x += W_down (silu(W_gate h) ⊙ W_up h), or x += W_down gelu(W_up h), h = norm(x)
void Forward::ffn_block(int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  now(Op::ffn_norm, layer);
  norm_rows(w.ffn_norm, w.ffn_norm_bias);
  const Product gate{&w.gate, &w.gate_bias, gate_.data(), gate_stride_},
      up{&w.up, &w.up_bias, up_.data(), gate_stride_};
  now(Op::ffn_up, layer);
  const int step = tiles_per_piece(w.up, n_tokens_);
  pool_.for_each(ceil_div(w.up.n_tiles, step), [&](int piece, int thread) {
    const int first_tile = piece * step, n_tiles = std::min(step, w.up.n_tiles - first_tile);
    const int first = first_tile * quant::kTileRows, n = std::min(n_tiles * quant::kTileRows, config_.d_ff - first);
    multiply(up, h_, n_tokens_, first_tile, n_tiles, thread);
    if (w.gate) multiply(gate, h_, n_tokens_, first_tile, n_tiles, thread);
    for (int t = 0; t < n_tokens_; ++t) {
      float* const out = ffn_hidden_.row(t) + first;
      if (config_.ffn == model::FfnKind::silu_gated)
        kernels_.silu_mul(gate_.data() + t * gate_stride_ + first, up_.data() + t * gate_stride_ + first, n, out);
      else
        kernels_.gelu_tanh(up_.data() + t * gate_stride_ + first, n, out);
      if (!ffn_hidden_.quantize(kernels_, t, first, n)) fail(kActivations);
    }
  });
  now(Op::ffn_down, layer);
  products_into_residual(w.down, w.down_bias, ffn_hidden_);
}

// logits = W_head norm(x), for the rows that want them
void Forward::project_logits(const StepPlan& plan) {
  now(Op::output_norm);
  for (const PlanEntry& entry : plan.entries)
    for (int i = 0; i < entry.n_logit_rows; ++i) {
      const int row = entry.first_row + entry.n_tokens - entry.n_logit_rows + i, to = entry.first_logit_row + i;
      normalize(x_.row(row), weights_.out_norm, weights_.out_norm_bias, head_in_.row(to));
      if (!head_in_.quantize(kernels_, to, 0, config_.d_model)) fail(kActivations);
    }
  const model::Vector no_bias;
  const std::array<Product, 1> head = {Product{&weights_.head, &no_bias, logits_.data(), logits_stride_}};
  now(Op::head);
  products(head, head_in_, plan.n_logit_rows, [&](const Product&, int first, int n) {
    for (int t = 0; t < plan.n_logit_rows; ++t)
      if (!kernels_.all_finite(logits_.data() + t * logits_stride_ + first, n)) fail(kActivations);
  });
}

void Forward::normalize(const float* x, const model::Vector& w, const model::Vector& b, float* y) const {
  if (config_.norm == model::NormKind::rms)
    kernels_.rms_norm(x, w.data(), config_.d_model, config_.norm_eps, y);
  else
    kernels_.layer_norm(x, w.data(), b.size() > 0 ? b.data() : nullptr, config_.d_model, config_.norm_eps, y);
}

// h = norm(x), as floats and in int8
void Forward::norm_rows(const model::Vector& w, const model::Vector& b) {
  pool_.for_each(ceil_div(n_tokens_, kRowsPerPiece), [&](int piece, int) {
    const int end = std::min((piece + 1) * kRowsPerPiece, n_tokens_);
    for (int t = piece * kRowsPerPiece; t < end; ++t) {
      normalize(x_.row(t), w, b, h_.row(t));
      if (!h_.quantize(kernels_, t, 0, config_.d_model)) fail(kActivations);
    }
  });
}

void Forward::quantize_rows(Activations& rows) {
  if (!rows.quantized()) return;
  pool_.for_each(ceil_div(n_tokens_, kRowsPerPiece), [&](int piece, int) {
    const int end = std::min((piece + 1) * kRowsPerPiece, n_tokens_);
    for (int t = piece * kRowsPerPiece; t < end; ++t)
      if (!rows.quantize(kernels_, t, 0, rows.cols())) fail(kActivations);
  });
}

bool Forward::goes_to_onednn(const model::Matrix& w, int n_tokens) const {
  return onednn_bytes_ > 0 && kernels::suits_onednn(n_tokens, w.format->type);
}

// A fixed number of bytes, whole blocks of 32 outputs. Products of float weights take four tiles at once; those of many
// tokens first turn activations around, or hand them to oneDNN, which larger pieces share.
int Forward::tiles_per_piece(const model::Matrix& w, int n_tokens) const {
  if (goes_to_onednn(w, n_tokens)) return kOnednnTiles;
  const size_t bytes = n_tokens == 1 ? kPieceBytes : kBatchPieceBytes;
  const size_t least = w.format->quantized ? 1 : (n_tokens == 1 ? 4 : 8);
  const int tiles = static_cast<int>(std::clamp<size_t>(bytes / w.tile_bytes, least, 64));
  return round_up(tiles, kBlockTiles);
}

void Forward::multiply(const Product& product, const Activations& in, int n_tokens, int first_tile, int n_tiles,
                       int thread) {
  const model::Matrix& w = *product.w;
  const ptrdiff_t first = static_cast<ptrdiff_t>(first_tile) * quant::kTileRows;
  kernels::MatmulArgs args = in.operands(n_tokens);
  args.tiles = w.tiles + static_cast<size_t>(first_tile) * w.tile_bytes;
  args.tile_bytes = w.tile_bytes;
  args.n_tiles = n_tiles;
  args.y = product.y + first;
  args.y_stride = product.y_stride;
  const bool done =
      goes_to_onednn(w, n_tokens) &&
      kernels::gemm_onednn(args, w.format->type, onednn_scratch_.data() + static_cast<size_t>(thread) * onednn_bytes_);
  if (!done) kernels_.matmul[static_cast<size_t>(w.format->type)](args);
  if (product.bias->size() == 0) return;
  for (int t = 0; t < n_tokens; ++t)
    kernels_.add(args.y + t * args.y_stride, product.bias->data() + first, n_tiles * quant::kTileRows);
}

// Several matrices over the same rows in one phase. epilogue(product, first output, n outputs) runs on each finished
// piece.
template <typename Epilogue>
void Forward::products(std::span<const Product> all, const Activations& in, int n_tokens, const Epilogue& epilogue) {
  int n_pieces = 0;
  for (const Product& product : all) n_pieces += ceil_div(product.w->n_tiles, tiles_per_piece(*product.w, n_tokens));
  pool_.for_each(n_pieces, [&](int piece, int thread) {
    for (const Product& product : all) {
      const int step = tiles_per_piece(*product.w, n_tokens), n = ceil_div(product.w->n_tiles, step);
      if (piece >= n) {
        piece -= n;
        continue;
      }
      const int first_tile = piece * step, n_tiles = std::min(step, product.w->n_tiles - first_tile);
      multiply(product, in, n_tokens, first_tile, n_tiles, thread);
      const int first = first_tile * quant::kTileRows;
      epilogue(product, first, std::min(n_tiles * quant::kTileRows, product.w->rows - first));
      return;
    }
  });
}

// x += W in + bias
void Forward::products_into_residual(const model::Matrix& w, const model::Vector& bias, const Activations& in) {
  const std::array<Product, 1> one = {Product{&w, &bias, delta_.data(), delta_stride_}};
  products(one, in, n_tokens_, [&](const Product&, int first, int n) {
    for (int t = 0; t < n_tokens_; ++t) {
      kernels_.add(x_.row(t) + first, delta_.data() + t * delta_stride_ + first, n);
      if (!kernels_.all_finite(x_.row(t) + first, n)) fail(kActivations);
    }
  });
}

}  // namespace decant
