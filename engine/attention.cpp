// SPDX-License-Identifier: Apache-2.0
#include "engine/attention.h"

#include <algorithm>

namespace decant {

namespace {

/// Chunks that one piece of a shared query takes: 512 slots, some 128 KB of K and V.
constexpr int kChunksPerPiece = 4;

int ceil_div(int a, int b) { return (a + b - 1) / b; }

}  // namespace

Attention::Attention(const Shape& shape, Isa isa, int n_threads)
    : shape_(shape),
      isa_(isa),
      max_group_(shape.n_heads / shape.min_kv_heads),
      // Room to share out one sequence of full length, or as many shorter ones. What doesn't fit isn't shared out.
      max_partials_((ceil_div(shape.n_ctx, cache::kChunkTokens) + shape.max_sequences) * shape.max_kv_heads),
      scratch_floats_((cache::attend_scratch_floats(cache::kQueryTokens * max_group_, shape.k_dim, shape.v_dim) + 15) /
                      16 * 16),
      scratch_(scratch_floats_ * static_cast<size_t>(n_threads)),
      m_(static_cast<size_t>(max_partials_) * max_group_),
      l_(static_cast<size_t>(max_partials_) * max_group_),
      o_(static_cast<size_t>(max_partials_) * max_group_ * shape.v_dim) {
  const int tiles = shape.max_step_tokens / cache::kQueryTokens + shape.max_sequences;
  tasks_.reserve(static_cast<size_t>(tiles) * shape.max_kv_heads + static_cast<size_t>(max_partials_));
  merges_.reserve(static_cast<size_t>(shape.max_sequences) * shape.max_kv_heads);
}

void Attention::plan_decode(const cache::KvView& kv, const cache::AttentionQueries& queries,
                            const cache::AttentionParams& params) {
  const cache::ChunkRange all = cache::attended_chunks(queries, params);
  const int n_chunks = all.last - all.first;
  if (n_chunks < 2 * kChunksPerPiece || n_partials_ + n_chunks > max_partials_) {
    tasks_.push_back({kv, queries, params, all, -1});
    return;
  }
  for (int first = all.first; first < all.last; first += kChunksPerPiece) {
    const cache::ChunkRange some{first, std::min(first + kChunksPerPiece, all.last)};
    tasks_.push_back({kv, queries, params, some, n_partials_ + (first - all.first)});
  }
  merges_.push_back({kv, queries, params, n_partials_, n_chunks});
  n_partials_ += n_chunks;
}

void Attention::run(ThreadPool& pool, const cache::KvCache& cache, const StepPlan& plan, int layer, int n_kv_heads,
                    cache::AttentionParams params, const float* q, ptrdiff_t q_stride, float* out,
                    ptrdiff_t out_stride) {
  const int n_group = shape_.n_heads / n_kv_heads;
  tasks_.clear();
  merges_.clear();
  n_partials_ = 0;
  for (const PlanEntry& entry : plan.entries) {
    params.first_slot = entry.first_slot;
    for (int head = 0; head < n_kv_heads; ++head) {
      const cache::KvView kv = cache.view(entry.sequence, layer, head);
      for (int first = 0; first < entry.n_tokens; first += cache::kQueryTokens) {
        const int row = entry.first_row + first;
        cache::AttentionQueries queries;
        queries.q = q + row * q_stride + static_cast<ptrdiff_t>(head) * n_group * shape_.k_dim;
        queries.q_stride = q_stride;
        queries.out = out + row * out_stride + static_cast<ptrdiff_t>(head) * n_group * shape_.v_dim;
        queries.out_stride = out_stride;
        queries.n_tokens = std::min(cache::kQueryTokens, entry.n_tokens - first);
        queries.n_group = n_group;
        queries.first_pos = entry.first_pos + first;
        if (entry.n_tokens == 1)
          plan_decode(kv, queries, params);
        else
          tasks_.push_back({kv, queries, params, {}, -1});
      }
    }
  }

  pool.for_each(static_cast<int>(tasks_.size()), [&](int i, int thread) {
    const Task& task = tasks_[static_cast<size_t>(i)];
    if (task.partial < 0) {
      cache::attend(isa_, task.kv, task.queries, task.params, scratch(thread));
      return;
    }
    for (int chunk = task.chunks.first; chunk < task.chunks.last; ++chunk) {
      const auto at = static_cast<size_t>(task.partial + chunk - task.chunks.first) * n_group;
      cache::attend_partial(isa_, task.kv, task.queries, task.params, chunk, m_.data() + at, l_.data() + at,
                            o_.data() + at * shape_.v_dim, scratch(thread));
    }
  });
  pool.for_each(static_cast<int>(merges_.size()), [&](int i, int) {
    const Merge& merge = merges_[static_cast<size_t>(i)];
    const auto at = static_cast<size_t>(merge.partial) * n_group;
    cache::attend_merge(isa_, merge.kv, merge.queries, merge.params, merge.n_chunks, m_.data() + at, l_.data() + at,
                        o_.data() + at * shape_.v_dim);
  });
}

}  // namespace decant
