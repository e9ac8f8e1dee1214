// SPDX-License-Identifier: Apache-2.0
#include "decant/attention.h"

#include <algorithm>

#include "decant/detail/check.h"
#include "decant/detail/fp_state.h"

#include "cache/kernels/attention_kernels.h"
#include "cache/kernels/hadamard.h"

namespace decant::cache {

namespace {

using kernels::AttendChunkArgs;
using kernels::FetchList;
using kernels::kChunkTiles;

static_assert(kTileTokens == kernels::kTileTokens && kChunkTokens == kernels::kChunkTokens);

constexpr size_t round_up(size_t n) { return (n + 15) / 16 * 16; }  // floats of a cache line

/// From so many rows on, quantized tiles are widened once for all of them: below, each block of up to six rows does so
/// by itself, for a product per element beside its six.
constexpr int kWidenRows = 24;

/// A query's slots [first, last).
struct SlotRange {
  int first = 0, last = 0;
};

SlotRange attended_slots(int pos, const AttentionParams& params) {
  const int from_window = params.window > 0 ? std::max(0, pos - params.window + 1) : 0;
  return {std::max(from_window, params.first_slot), pos + 1};
}

bool is_rotated(KvType type) { return type == KvType::q4; }

/// Scratch of one call, in parts that begin on cache lines if the whole does.
struct Scratch {
  float* q_rows;  ///< [n_rows, k_dim] scaled and rotated
  float* q;       ///< … and arranged
  float* scores;
  float* m;
  float* l;
  float* o;
  float* m_chunk;
  float* l_chunk;
  float* o_chunk;
  float* keys;    ///< [128, k_dim], only for kWidenRows or more
  float* values;  ///< [128, v_dim], only for kWidenRows or more, and with v_in_k

  Scratch(float* at, int n_rows, const KvView& kv) {
    const size_t rows = static_cast<size_t>(n_rows);
    const auto take = [&at](size_t n) {
      float* const part = at;
      at += round_up(n);
      return part;
    };
    q_rows = take(rows * static_cast<size_t>(kv.k_dim));
    q = take(rows * static_cast<size_t>(kv.k_dim));
    scores = take(rows * kChunkTokens);
    m = take(rows);
    l = take(rows);
    o = take(rows * static_cast<size_t>(kv.v_dim));
    m_chunk = take(rows);
    l_chunk = take(rows);
    o_chunk = take(rows * static_cast<size_t>(kv.v_dim));
    keys = n_rows >= kWidenRows ? take(size_t{kChunkTokens} * static_cast<size_t>(kv.k_dim)) : nullptr;
    values = keys != nullptr || kv.v_in_k ? take(size_t{kChunkTokens} * static_cast<size_t>(kv.v_dim)) : nullptr;
  }
};

/// A chunk of a head's K and V.
struct Place {
  const KvView* kv = nullptr;
  int chunk = 0;
};

/// f(block, its first tile among those of the chunk, first tile within the block, number of tiles) for each block that
/// has some of the tiles [first, last) of a chunk. One division for all of them. A block may be null.
template <typename F>
void for_blocks(const KvView& kv, int chunk, int first, int last, F f) {
  const int per_block = kv.block_tokens / kTileTokens;
  int block = (chunk * kChunkTiles + first) / per_block;
  int within = (chunk * kChunkTiles + first) - block * per_block;
  for (int i = first; i < last; ++block, within = 0) {
    const int n = std::min(last - i, per_block - within);
    f(block < kv.first_block ? nullptr : kv.blocks[block - kv.first_block], i, within, n);
    i += n;
  }
}

void add_run(FetchList& list, const std::byte* from, size_t bytes) {
  list.runs[list.n_runs++] = {from, from + bytes};
  list.n_bytes += static_cast<ptrdiff_t>(bytes);
}

/// Tiles of a chunk that hold slots.
int n_tiles(const KvView& kv, int chunk) {
  return std::min(kChunkTiles, (kv.len - chunk * kChunkTokens + kTileTokens - 1) / kTileTokens);
}

void add_keys(const KvView& kv, int chunk, FetchList& list) {
  for_blocks(kv, chunk, 0, n_tiles(kv, chunk), [&](const std::byte* block, int, int within, int n) {
    if (block != nullptr)
      add_run(list, block + kv.k_offset + static_cast<size_t>(within) * kv.k_tile_bytes,
              static_cast<size_t>(n) * kv.k_tile_bytes);
  });
}

void add_values(const KvView& kv, int chunk, FetchList& list) {
  if (kv.v_in_k) return;
  for_blocks(kv, chunk, 0, n_tiles(kv, chunk), [&](const std::byte* block, int, int within, int n) {
    if (block != nullptr)
      add_run(list, block + kv.v_offset + static_cast<size_t>(within) * kv.v_tile_bytes,
              static_cast<size_t>(n) * kv.v_tile_bytes);
  });
}

/// What is the same for every chunk of a call.
class ChunkWalk {
 public:
  ChunkWalk(const kernels::AttentionKernels& kernels, const KvView& kv, const AttentionQueries& queries,
            const AttentionParams& params, const Scratch& scratch, Place fetched = {})
      : widen_k_(scratch.keys == nullptr ? nullptr : kernels.widen_k[static_cast<int>(kv.k_type)]),
        widen_v_(scratch.keys == nullptr || kv.v_in_k ? nullptr : kernels.widen_v[static_cast<int>(kv.v_type)]),
        kv_(kv),
        queries_(queries),
        params_(params),
        keys_(scratch.keys),
        values_(scratch.values),
        fetched_(fetched) {
    DECANT_CHECK(!kv.v_in_k || !is_rotated(kv.k_type), "the cache refuses values in rotated keys");
    DECANT_CHECK(params.first_slot <= queries.first_pos, "a query attends to its own slot");
    DECANT_CHECK(queries.n_tokens >= 1 && queries.n_tokens <= kQueryTokens, "callers split longer runs of tokens");
    DECANT_CHECK(queries.first_pos + queries.n_tokens <= kv.len, "K and V are written before they are attended to");
    const int n_rows = queries.n_tokens * queries.n_group;
    const int token_size = queries.n_group * kv.k_dim;
    for (int t = 0; t < queries.n_tokens; ++t) {
      const float* from = queries.q + t * queries.q_stride;
      float* to = scratch.q_rows + static_cast<ptrdiff_t>(t) * token_size;
      for (int i = 0; i < token_size; ++i) to[i] = from[i] * params.scale;
    }
    if (is_rotated(kv.k_type))
      kernels::hadamard(scratch.q_rows, ptrdiff_t{queries.n_tokens} * token_size, kernels::hadamard_block(kv.k_dim));
    kernels.arrange_queries(scratch.q_rows, n_rows, kv.k_dim, scratch.q);
    const auto k_type = static_cast<int>(widen_k_ != nullptr ? KvType::f32 : kv.k_type);
    const auto v_type = static_cast<int>(kv.v_in_k || widen_v_ != nullptr ? KvType::f32 : kv.v_type);
    score_ = kernels.score[k_type];
    sum_values_ = kernels.sum_values[v_type];
    values_of_keys_ = kernels.values_of_keys[k_type];
    args_.k_dim = kv.k_dim;
    args_.v_dim = kv.v_dim;
    args_.n_tokens = queries.n_tokens;
    args_.n_group = queries.n_group;
    args_.q = scratch.q;
    args_.lo = lo_;
    args_.hi = hi_;
    args_.softcap = params.softcap;
    args_.alibi_slopes = params.alibi_slopes;
    args_.distance = distance_;
    args_.scores = scratch.scores;
  }

  /// The partial result of a chunk. Meanwhile fetches what comes next.
  void attend(int chunk, Place next, float* m, float* l, float* o) {
    const int begin = chunk * kChunkTokens;
    SlotRange all{kChunkTokens, 0};
    for (int t = 0; t < queries_.n_tokens; ++t) {
      const int pos = queries_.first_pos + t;
      const SlotRange slots = attended_slots(pos, params_);
      lo_[t] = std::clamp(slots.first - begin, 0, kChunkTokens);
      hi_[t] = std::clamp(slots.last - begin, 0, kChunkTokens);
      distance_[t] = pos - begin;
      if (lo_[t] < hi_[t]) all = {std::min(all.first, lo_[t]), std::max(all.last, hi_[t])};
    }
    std::fill_n(args_.k_tiles, kChunkTiles, nullptr);
    std::fill_n(args_.v_tiles, kChunkTiles, nullptr);
    const int last_tile = (all.last + kTileTokens - 1) / kTileTokens;
    for_blocks(kv_, chunk, all.first / kTileTokens, last_tile, [this](std::byte* block, int i, int within, int n) {
      if (block == nullptr) return;
      const std::byte* k = block + kv_.k_offset + static_cast<size_t>(within) * kv_.k_tile_bytes;
      const std::byte* v = block + kv_.v_offset + static_cast<size_t>(within) * kv_.v_tile_bytes;
      for (const int end = i + n; i < end; ++i, k += kv_.k_tile_bytes, v += kv_.v_tile_bytes) {
        args_.k_tiles[i] = k;
        args_.v_tiles[i] = kv_.v_in_k ? nullptr : v;
      }
    });
    plan_fetches(chunk, next);
    args_.m = m;
    args_.l = l;
    args_.o = o;
    if (widen_k_ != nullptr) replace_tiles(args_.k_tiles, widen_k_, kv_.k_dim, keys_);
    score_(args_);
    if (kv_.v_in_k) {
      std::copy_n(args_.k_tiles, kChunkTiles, args_.v_tiles);
      replace_tiles(args_.v_tiles, values_of_keys_, kv_.v_dim, values_);
    } else if (widen_v_ != nullptr) {
      replace_tiles(args_.v_tiles, widen_v_, kv_.v_dim, values_);
    }
    sum_values_(args_);
  }

 private:
  /// A chunk's keys and values arrive while the chunk before is worked on; what that one didn't announce catches up.
  void plan_fetches(int chunk, Place next) {
    args_.fetch.clear();
    if (fetched_.kv != &kv_ || fetched_.chunk != chunk) add_values(kv_, chunk, args_.fetch);
    if (next.kv != nullptr) {
      add_keys(*next.kv, next.chunk, args_.fetch);
      add_values(*next.kv, next.chunk, args_.fetch);
    }
    fetched_ = next;
  }

  using Convert = void (*)(const std::byte* tile, int dim, float* to);

  /// Tiles of f32 made of each, once for all rows.
  static void replace_tiles(const std::byte* (&tiles)[kChunkTiles], Convert convert, int dim, float* to) {
    for (const std::byte*& tile : tiles) {
      if (tile != nullptr) {
        convert(tile, dim, to);
        tile = reinterpret_cast<const std::byte*>(to);
      }
      to += ptrdiff_t{kTileTokens} * dim;
    }
  }

  Convert widen_k_;  ///< null: score() reads tiles as they are stored
  Convert widen_v_;  ///< null: so does sum_values()
  void (*score_)(const AttendChunkArgs&) = nullptr;
  void (*sum_values_)(const AttendChunkArgs&) = nullptr;
  Convert values_of_keys_ = nullptr;
  const KvView& kv_;
  const AttentionQueries& queries_;
  const AttentionParams& params_;
  float* keys_;
  float* values_;
  Place fetched_;
  AttendChunkArgs args_;
  int lo_[kQueryTokens] = {};
  int hi_[kQueryTokens] = {};
  int distance_[kQueryTokens] = {};
};

/// Divides by the sums, writes out and lse, and turns rotated values back.
void finish(const kernels::AttentionKernels& kernels, const KvView& kv, const AttentionQueries& queries,
            const AttentionParams& params, float* m, float* l, float* o) {
  kernels.finish(queries.n_tokens * queries.n_group, queries.n_group, kv.v_dim, params.sinks, m, l, o, queries.out,
                 queries.out_stride, queries.lse);
  if (kv.v_in_k || !is_rotated(kv.v_type)) return;
  const int block = kernels::hadamard_block(kv.v_dim);
  for (int t = 0; t < queries.n_tokens; ++t)
    kernels::hadamard(queries.out + t * queries.out_stride, ptrdiff_t{queries.n_group} * kv.v_dim, block);
}

/// What head h of several gets of a layer's queries.
struct HeadInputs {
  AttentionQueries queries;
  AttentionParams params;
};

HeadInputs inputs_of_head(AttentionQueries queries, AttentionParams params, int h, int k_dim) {
  const ptrdiff_t first_head = static_cast<ptrdiff_t>(h) * queries.n_group;
  queries.q += first_head * k_dim;
  if (params.alibi_slopes != nullptr) params.alibi_slopes += first_head;
  return {queries, params};
}

}  // namespace

size_t attend_scratch_floats(int n_rows, int k_dim, int v_dim, bool v_in_k) {
  const size_t rows = static_cast<size_t>(n_rows);
  const size_t keys = n_rows >= kWidenRows ? size_t{kChunkTokens} * static_cast<size_t>(k_dim) : 0;
  const size_t values = n_rows >= kWidenRows || v_in_k ? size_t{kChunkTokens} * static_cast<size_t>(v_dim) : 0;
  return 2 * round_up(rows * static_cast<size_t>(k_dim)) + round_up(rows * kChunkTokens) + 4 * round_up(rows) +
         2 * round_up(rows * static_cast<size_t>(v_dim)) + keys + values;
}

ChunkRange attended_chunks(const AttentionQueries& queries, const AttentionParams& params) {
  const int first = attended_slots(queries.first_pos, params).first;
  const int last_pos = queries.first_pos + queries.n_tokens - 1;
  return {first / kChunkTokens, last_pos / kChunkTokens + 1};
}

void attend(Isa isa, const KvView& kv, const AttentionQueries& queries, const AttentionParams& params,
            float* scratch_floats) {
  const detail::FpState default_state;
  const kernels::AttentionKernels& kernels = kernels::attention_kernels(isa);
  const int n_rows = queries.n_tokens * queries.n_group;
  const Scratch scratch(scratch_floats, n_rows, kv);
  ChunkWalk walk(kernels, kv, queries, params, scratch);
  const ChunkRange chunks = attended_chunks(queries, params);

  const auto after = [&](int chunk) { return chunk + 1 == chunks.last ? Place{} : Place{&kv, chunk + 1}; };
  walk.attend(chunks.first, after(chunks.first), scratch.m, scratch.l, scratch.o);
  for (int chunk = chunks.first + 1; chunk < chunks.last; ++chunk) {
    walk.attend(chunk, after(chunk), scratch.m_chunk, scratch.l_chunk, scratch.o_chunk);
    kernels.merge(n_rows, kv.v_dim, scratch.m, scratch.l, scratch.o, scratch.m_chunk, scratch.l_chunk, scratch.o_chunk);
  }
  finish(kernels, kv, queries, params, scratch.m, scratch.l, scratch.o);
}

void attend_partial(Isa isa, std::span<const KvView> heads, const AttentionQueries& queries,
                    const AttentionParams& params, ChunkRange chunks, const AttentionPartials& partials,
                    float* scratch_floats) {
  const detail::FpState default_state;
  const kernels::AttentionKernels& kernels = kernels::attention_kernels(isa);
  const int n_rows = queries.n_tokens * queries.n_group;
  Place fetched;
  for (size_t h = 0; h < heads.size(); ++h) {
    const KvView& kv = heads[h];
    const HeadInputs head = inputs_of_head(queries, params, static_cast<int>(h), kv.k_dim);
    const Scratch scratch(scratch_floats, n_rows, kv);
    ChunkWalk walk(kernels, kv, head.queries, head.params, scratch, fetched);
    for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
      const Place next = chunk + 1 < chunks.last ? Place{&kv, chunk + 1}
                         : h + 1 < heads.size()  ? Place{&heads[h + 1], chunks.first}
                                                 : Place{};
      const ptrdiff_t row = (static_cast<ptrdiff_t>(h) * partials.head_stride + chunk - chunks.first) * n_rows;
      walk.attend(chunk, next, partials.m + row, partials.l + row, partials.o + row * kv.v_dim);
      fetched = next;
    }
  }
}

void attend_merge(Isa isa, const KvView& kv, const AttentionQueries& queries, const AttentionParams& params,
                  int n_chunks, float* m, float* l, float* o) {
  const detail::FpState default_state;
  const kernels::AttentionKernels& kernels = kernels::attention_kernels(isa);
  const int n_rows = queries.n_tokens * queries.n_group;
  const ptrdiff_t o_chunk = static_cast<ptrdiff_t>(n_rows) * kv.v_dim;
  for (int i = 1; i < n_chunks; ++i) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(i) * n_rows;
    kernels.merge(n_rows, kv.v_dim, m, l, o, m + row, l + row, o + i * o_chunk);
  }
  finish(kernels, kv, queries, params, m, l, o);
}

}  // namespace decant::cache
