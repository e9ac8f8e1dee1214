// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "cache/kernels/attention_kernels.h"
#include "cache/kv_view.h"

namespace decant::cache {

/// How scores become weights, for one kv head's group of query heads.
///
///   s_j = scale · q·k_j;  s_j = softcap · tanh(s_j / softcap);  s_j −= alibi_slope · (p − j);  j > p − window
///   out = Σ_j exp(s_j − lse) v_j,  lse = log(Σ_j exp(s_j) + exp(sink))
struct AttentionParams {
  float scale = 1.0F;
  float softcap = 0.0F;                 ///< 0: off
  int window = 0;                       ///< 0: every slot up to p
  const float* alibi_slopes = nullptr;  ///< [n_group] or null
  const float* sinks = nullptr;         ///< [n_group] or null
};

/// Consecutive query tokens of one sequence and the heads of one group. Token t stands at position first_pos + t and
/// attends to slots j ≤ first_pos + t.
struct AttentionQueries {
  const float* q = nullptr;  ///< head g of token t at q + t · q_stride + g · k_dim, rotated, not scaled
  ptrdiff_t q_stride = 0;
  float* out = nullptr;  ///< head g of token t at out + t · out_stride + g · v_dim; overwritten
  ptrdiff_t out_stride = 0;
  float* lse = nullptr;  ///< [n_tokens · n_group] or null
  int n_tokens = 0;
  int n_group = 0;
  int first_pos = 0;
};

inline constexpr int kQueryTokens = 16;  ///< most tokens of one call of attend() or attend_partial()

/// Floats of scratch that attend() and attend_partial() need for n_rows = n_tokens · n_group query rows.
size_t attend_scratch_floats(int n_rows, int k_dim, int v_dim);

/// The single-query attention step (or up to kQueryTokens of them) over K≤i and V≤i: chunk by chunk of 128 slots,
/// ascending, each chunk's partial result merged into the last. Reads K and V once for the whole group. Doesn't
/// allocate; safe to call from many threads. Source: Milakov & Gimelshein 2018 (arXiv:1805.02867), alg. 3; Dao et al.
/// 2022 (arXiv:2205.14135), section 3.1.
void attend(const kernels::AttentionKernels& kernels, const KvView& kv, const AttentionQueries& queries,
            const AttentionParams& params, float* scratch);

/// The same in two parts, so that many threads can share one long sequence: any thread computes a chunk's partial
/// result, then one merges all of them in ascending order and finishes. Same operations, same bits.
/// m, l: [n_rows] a chunk; o: [n_rows, v_dim] a chunk.
void attend_partial(const kernels::AttentionKernels& kernels, const KvView& kv, const AttentionQueries& queries,
                    const AttentionParams& params, int chunk, float* m, float* l, float* o, float* scratch);
/// Merges the partial results of n_chunks consecutive chunks, which lie one after the other in m, l and o, into the
/// first and writes out.
void attend_merge(const kernels::AttentionKernels& kernels, const AttentionQueries& queries,
                  const AttentionParams& params, int v_dim, int n_chunks, float* m, float* l, float* o);

/// Chunks that any of the queries attends to: [first, last).
struct ChunkRange {
  int first = 0, last = 0;
};
ChunkRange attended_chunks(const AttentionQueries& queries, const AttentionParams& params);

}  // namespace decant::cache
