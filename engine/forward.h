// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "decant/cache.h"
#include "decant/model.h"
#include "decant/options.h"
#include "decant/stats.h"

#include "engine/activations.h"
#include "engine/attention.h"
#include "engine/model/model_parts.h"
#include "engine/step_plan.h"
#include "engine/step_recorder.h"
#include "engine/thread_pool.h"

namespace decant {

/// Looks on while a step computes. For tests and for those who study a model; called from the thread of step().
class ForwardProbe {
 public:
  virtual ~ForwardProbe() = default;
  /// x [n_tokens, d_model]: the residual stream after a layer. attention [n_tokens, n_heads · head_dim]: input of its
  /// output projection. Rows are `*_stride` floats apart.
  virtual void after_layer(const StepPlan& plan, int layer, const float* x, ptrdiff_t x_stride, const float* attention,
                           ptrdiff_t attention_stride) = 0;
};

/// Asked between layers whether nobody wants the step any more.
class StopCondition {
 public:
  virtual bool requested() const noexcept = 0;

 protected:
  ~StopCondition() = default;
};

/// Rows of logits, [n_rows, vocab_size], `stride` floats apart.
struct LogitsView {
  const float* logits = nullptr;
  ptrdiff_t stride = 0;
  int n_rows = 0;
};

/// The transformer, over the tokens of a step. Its buffers are sized once; run() allocates nothing.
class Forward {
 public:
  struct Limits {
    int max_step_tokens = 0;
    int max_logit_rows = 0;
    int max_sequences = 0;
    int n_ctx = 0;
  };

  Forward(const Model::Parts& model, const Limits& limits, Isa isa, ThreadPool& pool);

  /// Appends keys and values of the plan's tokens to their reserved slots and returns the logits that the plan asks
  /// for; they are valid until the next run. Errors: `cancelled` between layers, `non_finite` naming the layer.
  Result<LogitsView> run(const StepPlan& plan, const cache::KvCache& cache, const StopCondition& stop);

  /// Activations, logits and what attention needs.
  MemoryStats memory() const noexcept;

  void set_probe(ForwardProbe* probe) noexcept { probe_ = probe; }
  /// Null: nobody wants to know.
  void set_recorder(StepRecorder* recorder) noexcept { recorder_ = recorder; }

 private:
  /// One matrix of a product: y[t, row] = Σ_k w[row, k] · in[t, k] (+ bias[row]).
  struct Product {
    const model::Matrix* w;
    const model::Vector* bias;
    float* y;
    ptrdiff_t y_stride;
  };

  void embed(const StepPlan& plan);
  void rotations(const StepPlan& plan);
  void attention_block(const StepPlan& plan, const cache::KvCache& cache, int layer);
  void append_keys_and_values(const StepPlan& plan, const cache::KvCache& cache, int layer);
  void ffn_block(int layer);
  void project_logits(const StepPlan& plan);

  void normalize(const float* x, const model::Vector& w, const model::Vector& b, float* y) const;
  void norm_rows(const model::Vector& w, const model::Vector& b);
  void quantize_rows(Activations& rows);
  bool goes_to_onednn(const model::Matrix& w, int n_tokens) const;
  int tiles_per_piece(const model::Matrix& w, int n_tokens) const;
  void multiply(const Product& product, const Activations& in, int n_tokens, int first_tile, int n_tiles, int thread);
  template <typename Epilogue>
  void products(std::span<const Product> all, const Activations& in, int n_tokens, const Epilogue& epilogue);
  void products_into_residual(const model::Matrix& w, const model::Vector& bias, const Activations& in);
  void now(Op op, int layer = -1) noexcept {
    if (recorder_ != nullptr) recorder_->begin(op, layer);
  }
  void fail(int fault) noexcept { faults_.fetch_or(fault, std::memory_order_relaxed); }
  Status check(int layer) const;

  const model::ModelConfig& config_;
  const model::Weights& weights_;
  size_t onednn_bytes_ = 0;  ///< of scratch a thread; 0 but with Numerics::fast
  detail::AlignedBuffer<std::byte> onednn_scratch_;
  const kernels::KernelTable& kernels_;
  ThreadPool& pool_;
  Attention attention_;
  ForwardProbe* probe_ = nullptr;
  StepRecorder* recorder_ = nullptr;

  int n_tokens_ = 0;
  std::atomic<int> faults_{0};
  int kv_width_;               ///< widest n_kv_heads · head_dim of a layer
  Activations x_;              ///< [tokens, d_model] residual stream
  Activations h_;              ///< [tokens, d_model] normed, input of q, k, v, gate, up
  Activations attention_out_;  ///< [tokens, n_heads · head_dim]
  Activations ffn_hidden_;     ///< [tokens, d_ff]
  Activations head_in_;        ///< [logit rows, d_model]
  ptrdiff_t q_stride_, kv_stride_, gate_stride_, delta_stride_, logits_stride_;
  detail::AlignedBuffer<float> q_, k_, v_;  ///< [tokens, heads · head_dim]
  detail::AlignedBuffer<float> gate_, up_;  ///< [tokens, d_ff]
  detail::AlignedBuffer<float> delta_;      ///< [tokens, d_model] what a block adds to the residual stream
  detail::AlignedBuffer<float> cos_, sin_;  ///< [tokens, rope_dim / 2]
  detail::AlignedBuffer<float> logits_;     ///< [logit rows, vocab]
};

}  // namespace decant
