// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "decant/attention.h"
#include "decant/cache.h"
#include "decant/detail/aligned_buffer.h"

#include "engine/step_plan.h"
#include "engine/thread_pool.h"

namespace decant {

/// Attention of one layer for every token of a step, shared out among the pool's threads: by kv head, by 16 tokens of a
/// prompt, and for a single query over a long context by runs of chunks. How it is shared out changes no bit.
class Attention {
 public:
  struct Shape {
    int n_heads = 0;
    int max_step_tokens = 0;
    int max_sequences = 0;
    int n_ctx = 0;
    int min_kv_heads = 0, max_kv_heads = 0;  ///< over the layers
    int k_dim = 0, v_dim = 0;
  };

  Attention(const Shape& shape, Isa isa, int n_threads);

  /// q [n_tokens, n_heads, k_dim] rotated, rows q_stride floats apart; out [n_tokens, n_heads, v_dim], rows out_stride
  /// apart. Keys and values of the step's own tokens are in the cache already. params.first_slot is each entry's own.
  void run(ThreadPool& pool, const cache::KvCache& cache, const StepPlan& plan, int layer, int n_kv_heads,
           cache::AttentionParams params, const float* q, ptrdiff_t q_stride, float* out, ptrdiff_t out_stride);

  /// Of the buffers that it holds.
  size_t size_bytes() const noexcept {
    return scratch_.size_bytes() + m_.size_bytes() + l_.size_bytes() + o_.size_bytes();
  }

 private:
  /// Some query tokens of one sequence: all chunks of one kv head, or (partial ≥ 0) of all kv heads the chunks of
  /// `chunks` only.
  struct Task {
    int first_view = 0;
    int n_views = 0;
    cache::AttentionQueries queries;
    cache::AttentionParams params;
    cache::ChunkRange chunks;
    int partial = -1;  ///< where the first chunk's partial result of the first head goes
    int n_chunks = 0;  ///< partial results from one head to the next
  };
  /// Partial results to be merged.
  struct Merge {
    int view = 0;
    cache::AttentionQueries queries;
    cache::AttentionParams params;
    int partial = 0;
    int n_chunks = 0;
  };

  float* scratch(int thread) { return scratch_.data() + static_cast<size_t>(thread) * scratch_floats_; }
  void plan_decode(const cache::AttentionQueries& queries, const cache::AttentionParams& params, int n_heads);
  cache::AttentionQueries queries_of_head(cache::AttentionQueries queries, int head) const;
  cache::AttentionPartials partials(int first, int n_rows, int head_stride);

  Shape shape_;
  Isa isa_;
  int max_group_;
  int max_partials_;  ///< chunks for whose partial results there is room
  int n_partials_ = 0;
  size_t scratch_floats_;
  detail::AlignedBuffer<float> scratch_;
  detail::AlignedBuffer<float> m_, l_, o_;  ///< [max_partials, max_group], the same, [max_partials, max_group, v_dim]
  std::vector<cache::KvView> views_;
  std::vector<Task> tasks_;
  std::vector<Merge> merges_;
};

}  // namespace decant
