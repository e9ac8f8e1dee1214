// SPDX-License-Identifier: Apache-2.0
#pragma once

// Arithmetic of the cache: rows into blocks, and attention of a few queries over one chunk of a head's K≤i and V≤i.
// Plain structs and pointers only: this header is read by files compiled with their own ISA flags. Every function is
// exact in the sense of ARCHITECTURE.md, "Numerics"; the reference table is the definition.

#include <cstddef>

#include "decant/dtype.h"
#include "decant/isa.h"

namespace decant::kernels {

inline constexpr int kTileTokens = 16;    ///< slots of a K tile: the lanes of a score
inline constexpr int kChunkTokens = 128;  ///< slots of a chunk: the unit in which attention is summed and merged
inline constexpr int kChunkTiles = kChunkTokens / kTileTokens;

/// Memory to fetch into the cache a few lines at a time, beside other work.
struct FetchList {
  struct Run {
    const std::byte* begin;
    const std::byte* end;
  };
  Run runs[3 * kChunkTiles];
  int n_runs = 0;
  ptrdiff_t n_bytes = 0;

  void clear() { n_runs = 0, n_bytes = 0; }
};

/// Queries over the slots of one chunk, all reading the same kv head.
///
/// A K tile is channel by channel, 16 slots side by side. A V tile is slot by slot. Query row r = token · n_group +
/// head. Token t attends to the chunk's slots [lo[t], hi[t]); lo[t] ≥ hi[t] leaves its rows with l = 0 and their m and
/// o unspecified. Slots outside are skipped: never read as numbers, whatever they hold.
struct AttendChunkArgs {
  const std::byte* k_tiles[kChunkTiles] = {};  ///< null before the first and after the last slot attended to
  const std::byte* v_tiles[kChunkTiles] = {};  ///< as k_tiles; read by sum_values()
  FetchList fetch;                             ///< what to fetch ahead during score() and sum_values()
  int k_dim = 0;
  int v_dim = 0;
  int n_tokens = 0;
  int n_group = 0;  ///< query heads that read this kv head
  /// [n_tokens · n_group · k_dim] as arrange_queries() left it: multiplied by the scale (one rounding), rotated for q4.
  const float* q = nullptr;
  const int* lo = nullptr;              ///< [n_tokens]
  const int* hi = nullptr;              ///< [n_tokens], ≤ 128
  float softcap = 0.0F;                 ///< > 0: s = softcap · tanh(s / softcap)
  const float* alibi_slopes = nullptr;  ///< [n_group] or null: s = fma(−slope, pos − slot, s), after the soft cap
  const int* distance = nullptr;        ///< [n_tokens] pos − (the chunk's slot 0); read with alibi_slopes only
  float* scores = nullptr;              ///< [n_tokens · n_group, 128] from score() to sum_values(): exp(s − m)
  float* m = nullptr;                   ///< [n_tokens · n_group] out of score(): greatest score
  float* l = nullptr;                   ///< [n_tokens · n_group] out of score(): Σ exp(s − m)
  float* o = nullptr;                   ///< [n_tokens · n_group, v_dim] out of sum_values(): Σ exp(s − m) · v
};

/// Functions of one ISA; arrays are indexed by KvType.
struct AttentionKernels {
  const char* name;

  /// One token's key of one head, [k_dim], into lane `lane` of a K tile. False if a value doesn't fit the type (or is
  /// not finite).
  bool (*store_k[kKvTypeCount])(const float* k, int k_dim, std::byte* tile, int lane);
  /// One token's value of one head, [v_dim], into row `row` of a V tile. False as above.
  bool (*store_v[kKvTypeCount])(const float* v, int v_dim, std::byte* tile, int row);
  /// Back again, as stored; of q4, the stored row rotated back. But for q4, load_k with a k_dim below the tile's gives
  /// the first channels.
  void (*load_k[kKvTypeCount])(const std::byte* tile, int lane, int k_dim, float* k);
  void (*load_v[kKvTypeCount])(const std::byte* tile, int row, int v_dim, float* v);
  /// A stored row, bit for bit, to another place of the same tile or of another. The places may be the same.
  void (*copy_k[kKvTypeCount])(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane);
  void (*copy_v[kKvTypeCount])(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row);

  /// Puts queries [n_rows, k_dim] where the score functions of this table look for them.
  void (*arrange_queries)(const float* rows, int n_rows, int k_dim, float* q);
  /// The two halves of attention over a chunk, by the types of K and of V.
  void (*score[kKvTypeCount])(const AttendChunkArgs& args);
  void (*sum_values[kKvTypeCount])(const AttendChunkArgs& args);
  /// Values that are the first v_dim channels of a K tile, as a V tile of f32. Null for q4, whose channels are mixed.
  void (*values_of_keys[kKvTypeCount])(const std::byte* k_tile, int v_dim, float* v_tile);

  /// A tile as one of f32, for many rows to read; null where reading the type costs no arithmetic.
  void (*widen_k[kKvTypeCount])(const std::byte* tile, int k_dim, float* k_tile);
  void (*widen_v[kKvTypeCount])(const std::byte* tile, int v_dim, float* v_tile);

  /// state ← state merged with the partial result of the next chunk, for n rows; l = 0 means "nothing yet".
  ///   M = max(m, mc), a = exp(m − M), b = exp(mc − M): l = l·a + lc·b, o = o·a + oc·b, m = M
  void (*merge)(int n_rows, int v_dim, float* m, float* l, float* o, const float* mc, const float* lc, const float* oc);
  /// Adds the sink term (sinks: [n_group], row r uses r mod n_group; may be null), divides by l and writes row r to
  /// out + (r / n_group) · token_stride + (r mod n_group) · v_dim. lse (may be null, [n_rows]) = m + log(l).
  void (*finish)(int n_rows, int n_group, int v_dim, const float* sinks, float* m, float* l, float* o, float* out,
                 ptrdiff_t token_stride, float* lse);
};

/// Bytes of a tile: 16 slots of one head. A multiple of 16.
size_t kv_k_tile_bytes(KvType type, int k_dim) noexcept;
size_t kv_v_tile_bytes(KvType type, int v_dim) noexcept;

/// The table of an ISA. Calling one that the CPU lacks is undefined (see resolve_isa).
const AttentionKernels& attention_kernels(Isa isa) noexcept;

}  // namespace decant::kernels
