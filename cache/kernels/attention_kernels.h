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

/// Queries over the slots of one chunk, all reading the same kv head.
///
/// A K tile is [k_dim, 16]: channel by channel, 16 slots side by side. A V tile is [16, v_dim]: slot by slot.
/// Query row r = token · n_group + head. Token t attends to the chunk's slots [lo[t], hi[t]); lo[t] ≥ hi[t] leaves its
/// rows with l = 0 and their m and o unspecified. Slots outside are skipped: never read as numbers, whatever they hold.
struct AttendChunkArgs {
  const std::byte* k_tiles[kChunkTiles] = {};  ///< null before the first and after the last slot attended to
  const std::byte* v_tiles[kChunkTiles] = {};
  const std::byte* next_k_tiles[kChunkTiles] = {};  ///< those of the chunk that comes next, to fetch ahead; null: none
  int k_dim = 0;
  int v_dim = 0;
  int n_tokens = 0;
  int n_group = 0;           ///< query heads that read this kv head
  const float* q = nullptr;  ///< [n_tokens · n_group, k_dim], already multiplied by the scale (one rounding)
  const int* lo = nullptr;   ///< [n_tokens]
  const int* hi = nullptr;   ///< [n_tokens], ≤ 128
  float softcap = 0.0F;      ///< > 0: s = softcap · tanh(s / softcap)
  const float* alibi_slopes = nullptr;  ///< [n_group] or null: s = fma(−slope, pos − slot, s), after the soft cap
  const int* distance = nullptr;        ///< [n_tokens] pos − (the chunk's slot 0); read with alibi_slopes only
  float* scores = nullptr;              ///< scratch, [n_tokens · n_group, 128]
  float* m = nullptr;                   ///< [n_tokens · n_group] out: greatest score
  float* l = nullptr;                   ///< [n_tokens · n_group] out: Σ exp(s − m)
  float* o = nullptr;                   ///< [n_tokens · n_group, v_dim] out: Σ exp(s − m) · v
};

struct AttentionKernels {
  const char* name;

  /// One token's key of one head, [k_dim], into lane `lane` of a K tile. False if a value doesn't fit the type (or is
  /// not finite).
  bool (*store_k[kKvTypeCount])(const float* k, int k_dim, std::byte* tile, int lane);
  /// One token's value of one head, [v_dim], into row `row` of a V tile. False as above.
  bool (*store_v[kKvTypeCount])(const float* v, int v_dim, std::byte* tile, int row);
  /// Back again, as stored.
  void (*load_k[kKvTypeCount])(const std::byte* tile, int lane, int k_dim, float* k);
  void (*load_v[kKvTypeCount])(const std::byte* tile, int row, int v_dim, float* v);

  /// By type of K, then of V.
  void (*attend_chunk[kKvTypeCount][kKvTypeCount])(const AttendChunkArgs& args);

  /// state ← state merged with the partial result of the next chunk, for n rows; l = 0 means "nothing yet".
  ///   M = max(m, mc), a = exp(m − M), b = exp(mc − M): l = l·a + lc·b, o = o·a + oc·b, m = M
  void (*merge)(int n_rows, int v_dim, float* m, float* l, float* o, const float* mc, const float* lc, const float* oc);
  /// Adds the sink term (sinks: [n_group], row r uses r mod n_group; may be null), divides by l and writes row r to
  /// out + (r / n_group) · token_stride + (r mod n_group) · v_dim. lse (may be null, [n_rows]) = m + log(l).
  void (*finish)(int n_rows, int n_group, int v_dim, const float* sinks, float* m, float* l, float* o, float* out,
                 ptrdiff_t token_stride, float* lse);
};

/// Bytes of an element of a cache type.
inline constexpr int kv_type_bytes(KvType type) { return type == KvType::f32 ? 4 : 2; }

/// The table of an ISA. Calling one that the CPU lacks is undefined (see resolve_isa).
const AttentionKernels& attention_kernels(Isa isa) noexcept;

}  // namespace decant::kernels
