// SPDX-License-Identifier: Apache-2.0
#include "engine/attention.h"

#include <algorithm>

namespace decant {

namespace {

/// Chunks that one piece of a shared query takes, of all kv heads: a sixteenth of long contexts, and 512 slots or more,
/// since each piece begins with what nobody has fetched ahead.
constexpr int kMinChunksPerPiece = 4;
constexpr int chunks_per_piece(int n_chunks) { return std::max(kMinChunksPerPiece, n_chunks / 16); }

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
  views_.reserve(static_cast<size_t>(shape.max_sequences) * shape.max_kv_heads);
}

void Attention::plan_decode(const cache::AttentionQueries& queries, const cache::AttentionParams& params, int n_heads) {
  const cache::ChunkRange all = cache::attended_chunks(queries, params);
  const int n_chunks = all.last - all.first;
  const int n_partials = n_chunks * n_heads;
  const int views = static_cast<int>(views_.size()) - n_heads;
  const bool in_parts = n_chunks >= 2 * kMinChunksPerPiece && n_partials_ + n_partials <= max_partials_;
  for (int head = 0; head < n_heads; ++head) {
    const cache::AttentionQueries of_head = queries_of_head(queries, head);
    if (in_parts)
      merges_.push_back({views + head, of_head, params, n_partials_ + head * n_chunks, n_chunks});
    else
      tasks_.push_back({views + head, 1, of_head, params, {}, -1, 0});
  }
  if (!in_parts) return;
  const int per_piece = chunks_per_piece(n_chunks);
  for (int first = all.first; first < all.last; first += per_piece) {
    const cache::ChunkRange some{first, std::min(first + per_piece, all.last)};
    tasks_.push_back({views, n_heads, queries, params, some, n_partials_ + (first - all.first), n_chunks});
  }
  n_partials_ += n_partials;
}

cache::AttentionPartials Attention::partials(int first, int n_rows, int head_stride) {
  const size_t row = static_cast<size_t>(first) * static_cast<size_t>(n_rows);
  return {m_.data() + row, l_.data() + row, o_.data() + row * static_cast<size_t>(shape_.v_dim), head_stride};
}

cache::AttentionQueries Attention::queries_of_head(cache::AttentionQueries queries, int head) const {
  queries.q += static_cast<ptrdiff_t>(head) * queries.n_group * shape_.k_dim;
  queries.out += static_cast<ptrdiff_t>(head) * queries.n_group * shape_.v_dim;
  return queries;
}

void Attention::run(ThreadPool& pool, const cache::KvCache& cache, const StepPlan& plan, int layer, int n_kv_heads,
                    cache::AttentionParams params, const float* q, ptrdiff_t q_stride, float* out,
                    ptrdiff_t out_stride) {
  const int n_group = shape_.n_heads / n_kv_heads;
  tasks_.clear();
  merges_.clear();
  views_.clear();
  n_partials_ = 0;
  for (const PlanEntry& entry : plan.entries) {
    params.first_slot = entry.first_slot;
    const int first_view = static_cast<int>(views_.size());
    for (int head = 0; head < n_kv_heads; ++head) views_.push_back(cache.view(entry.sequence, layer, head));
    // The last tokens of a prompt have most to do and go first, so that no thread is left with them in the end.
    for (int tile = ceil_div(entry.n_tokens, cache::kQueryTokens) - 1; tile >= 0; --tile) {
      const int first = tile * cache::kQueryTokens;
      const int row = entry.first_row + first;
      cache::AttentionQueries queries;
      queries.q = q + row * q_stride;
      queries.q_stride = q_stride;
      queries.out = out + row * out_stride;
      queries.out_stride = out_stride;
      queries.n_tokens = std::min(cache::kQueryTokens, entry.n_tokens - first);
      queries.n_group = n_group;
      queries.first_pos = entry.first_pos + first;
      if (entry.n_tokens == 1)
        plan_decode(queries, params, n_kv_heads);
      else
        for (int head = 0; head < n_kv_heads; ++head)
          tasks_.push_back({first_view + head, 1, queries_of_head(queries, head), params, {}, -1, 0});
    }
  }

  pool.for_each(static_cast<int>(tasks_.size()), [&](int i, int thread) {
    const Task& task = tasks_[static_cast<size_t>(i)];
    if (task.partial < 0)
      cache::attend(isa_, views_[static_cast<size_t>(task.first_view)], task.queries, task.params, scratch(thread));
    else
      cache::attend_partial(isa_, {views_.data() + task.first_view, static_cast<size_t>(task.n_views)}, task.queries,
                            task.params, task.chunks, partials(task.partial, n_group, task.n_chunks), scratch(thread));
  });
  pool.for_each(static_cast<int>(merges_.size()), [&](int i, int) {
    const Merge& merge = merges_[static_cast<size_t>(i)];
    const auto at = static_cast<size_t>(merge.partial) * n_group;
    cache::attend_merge(isa_, views_[static_cast<size_t>(merge.view)], merge.queries, merge.params, merge.n_chunks,
                        m_.data() + at, l_.data() + at, o_.data() + at * shape_.v_dim);
  });
}

}  // namespace decant
