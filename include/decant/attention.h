// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "decant/dtype.h"
#include "decant/export.h"
#include "decant/isa.h"

/// Attention over a paged cache of keys and values, for a forward pass of one's own. Needs no model and no engine.
///
/// Every result is one fixed sequence of IEEE operations: the same bits for any Isa, block size, number of threads and
/// way of splitting the work. The sequence is written down in ARCHITECTURE.md, "Numerics".
///
/// Nothing here allocates, throws or keeps state; all of it may be called from many threads at once, as long as each
/// has its own scratch and outputs. Every function sets the floating-point control register to its default while it
/// runs and restores the caller's.
namespace decant::cache {

inline constexpr int kTileTokens = 16;    ///< slots of a tile, the unit in which keys and values are laid out
inline constexpr int kChunkTokens = 128;  ///< slots of a chunk, the unit in which attention is summed and merged
inline constexpr int kQueryTokens = 16;   ///< most tokens of one call of attend() or attend_partial()

/// K≤i and V≤i of one layer and kv head of one sequence, where they lie in the cache: nothing is copied. A slot is the
/// place of one token; slot j belongs to position j. Made by the cache; valid until the cache changes.
struct KvView {
  std::byte* const* blocks = nullptr;  ///< the sequence's blocks from first_block on; null where one was given back
  int first_block = 0;                 ///< blocks before it have no entry: they were given back
  size_t k_offset = 0;                 ///< bytes from a block's start to this head's first K tile
  size_t v_offset = 0;                 ///< … and to its first V tile
  size_t k_tile_bytes = 0;             ///< bytes of a K tile
  size_t v_tile_bytes = 0;             ///< bytes of a V tile; 0 with v_in_k
  int block_tokens = 0;                ///< slots of a block, a multiple of 16
  int len = 0;                         ///< slots written: positions [0, len)
  int first = 0;                       ///< first slot that is still there (a window gave back those before)
  int k_dim = 0;                       ///< channels of a key
  int v_dim = 0;                       ///< channels of a value
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;  ///< not read with v_in_k
  /// Values are the first v_dim ≤ k_dim channels of the keys and stored with them only, as latent attention has them.
  /// Not for keys of type q4, which are stored rotated.
  bool v_in_k = false;

  /// The K tile of slots [16·i, 16·i + 16); null if its block was given back.
  std::byte* k_tile(int i) const { return tile(i, k_offset, k_tile_bytes); }
  /// The V tile of the same slots. There is none with v_in_k.
  std::byte* v_tile(int i) const { return tile(i, v_offset, v_tile_bytes); }

 private:
  std::byte* tile(int i, size_t offset, size_t tile_bytes) const {
    const int per_block = block_tokens / kTileTokens, b = i / per_block;
    std::byte* const block = b < first_block ? nullptr : blocks[b - first_block];
    return block == nullptr ? nullptr : block + offset + static_cast<size_t>(i % per_block) * tile_bytes;
  }
};

/// How scores become weights, for one kv head's group of query heads. For a query at position p:
///
///   s_j = scale · q·k_j;  s_j = softcap · tanh(s_j / softcap);  s_j −= alibi_slope · (p − j)
///   for the slots first_slot ≤ j ≤ p with j > p − window
///   lse = log(Σ_j exp(s_j) + exp(sink));  out = Σ_j exp(s_j − lse) v_j
struct AttentionParams {
  float scale = 1.0F;                   ///< 1/sqrt(k_dim) unless the model says otherwise
  float softcap = 0.0F;                 ///< 0: off
  int window = 0;                       ///< 0: every slot up to p
  const float* alibi_slopes = nullptr;  ///< [n_group] or null
  const float* sinks = nullptr;         ///< [n_group] or null
  /// Slots before it are not attended to, on top of the window. At most the first query's position: a query always
  /// attends to its own slot.
  int first_slot = 0;
};

/// Consecutive query tokens of one sequence and the heads of one group, which all read the same kv head. Token t stands
/// at position first_pos + t and attends to slots j ≤ first_pos + t, which must have been written.
struct AttentionQueries {
  const float* q = nullptr;  ///< head g of token t at q + t · q_stride + g · k_dim, [k_dim], rotated, not scaled
  ptrdiff_t q_stride = 0;    ///< in floats
  float* out = nullptr;      ///< head g of token t at out + t · out_stride + g · v_dim, [v_dim]; overwritten
  ptrdiff_t out_stride = 0;  ///< in floats
  float* lse = nullptr;      ///< [n_tokens · n_group] or null: log of the sum of the exponentials
  int n_tokens = 0;          ///< 1 … kQueryTokens
  int n_group = 0;           ///< query heads of the kv head: n_heads / n_kv_heads
  int first_pos = 0;
};

/// Floats of scratch that attend() and attend_partial() need for n_rows = n_tokens · n_group query rows: n_rows ·
/// (2 · k_dim + 2 · v_dim + 132) and a little, 128 · (k_dim + v_dim) more from 24 rows on, and 128 · v_dim more with
/// v_in_k.
DECANT_API size_t attend_scratch_floats(int n_rows, int k_dim, int v_dim, bool v_in_k = false);

/// Attention of up to kQueryTokens tokens over K≤i and V≤i, in one pass (online softmax): chunk by chunk of 128 slots,
/// ascending, each chunk's partial result merged into the last.
///
/// isa      one of available_isas(); any other is undefined behaviour
/// scratch  [attend_scratch_floats(…)] f32, best on 64 bytes; its contents don't matter before or after
///
/// Reads K and V from memory once for the whole group, in whole tiles: no other thread may be writing to a tile that
/// has a slot attended to, though slots that aren't attended to don't matter to the result. A score that is not finite
/// makes its row of out NaN, never a wrong number. Source: Milakov & Gimelshein 2018 (arXiv:1805.02867), alg. 3; Dao et
/// al. 2022 (arXiv:2205.14135), section 3.1.
DECANT_API void attend(Isa isa, const KvView& kv, const AttentionQueries& queries, const AttentionParams& params,
                       float* scratch);

/// Chunks that any of the queries attends to: [first, last), at least one.
struct ChunkRange {
  int first = 0, last = 0;
};
/// Those of a call of attend().
DECANT_API ChunkRange attended_chunks(const AttentionQueries& queries, const AttentionParams& params);

/// Where partial results of one or more kv heads go: that of head h and the i-th chunk to row (h · head_stride + i) ·
/// n_rows.
struct AttentionPartials {
  float* m = nullptr;         ///< [n_rows] a result: greatest score
  float* l = nullptr;         ///< [n_rows]: sum of exponentials
  float* o = nullptr;         ///< [n_rows, v_dim]: sum of weighted values
  ptrdiff_t head_stride = 0;  ///< results from one head to the next
};

/// The first of two parts of attend(), so that many threads can share one long sequence: the partial results of some
/// chunks of one or more kv heads of a layer. Same operations, same bits. While one chunk is worked on, the next one is
/// fetched, that of the next head too: give each call a megabyte or so.
///
/// heads    views of consecutive kv heads of one sequence and layer
/// queries  those of heads[0]; those of heads[h] begin h · n_group heads later. No field that has to do with outputs is
///          read.
/// params   alibi_slopes: of all heads, [heads.size() · n_group]
/// chunks   some of attended_chunks()
DECANT_API void attend_partial(Isa isa, std::span<const KvView> heads, const AttentionQueries& queries,
                               const AttentionParams& params, ChunkRange chunks, const AttentionPartials& partials,
                               float* scratch);

/// The second part: merges the partial results of n_chunks ≥ 1 consecutive chunks, which lie one after the other in m,
/// l and o, ascending, into the first, and writes queries.out and queries.lse. Of `kv` only v_dim, v_type and v_in_k
/// are read.
DECANT_API void attend_merge(Isa isa, const KvView& kv, const AttentionQueries& queries, const AttentionParams& params,
                             int n_chunks, float* m, float* l, float* o);

}  // namespace decant::cache
