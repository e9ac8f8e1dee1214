// SPDX-License-Identifier: Apache-2.0

// The definition of attention over a chunk. Compiled twice: as `reference` for any x86-64, and as `reference_fma` with
// -mfma. No inline function of a shared header is called here: a copy compiled with FMA could be the one the linker
// keeps.

#include "cache/kernels/attention_tables.h"
#include "cache/kernels/kv_rows.h"
#include "cache/kernels/kv_tiles.h"
#include "cache/kernels/vmath64.h"
#include "cache/kernels/vmath_ref.h"

#ifndef DECANT_REFERENCE
#define DECANT_REFERENCE reference
#endif

namespace decant::kernels::DECANT_REFERENCE {

namespace {

constexpr float kInf = __builtin_inff();

float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
float greater(float a, float b) { return a < b ? b : a; }

/// s[i] += s[i + 8], then 4, 2, 1.
float tree_sum(float (&s)[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

void arrange_queries(const float* rows, int n_rows, int k_dim, float* q) {
  for (ptrdiff_t i = 0; i < static_cast<ptrdiff_t>(n_rows) * k_dim; ++i) q[i] = rows[i];
}

/// s_j = Σ q[ch]·k_j[ch], ch ascending, for the slots [lo, hi).
template <WidenKeys* widen>
void dot_scores(const AttendChunkArgs& args, const float* q, int lo, int hi, float* scores) {
  for (int tile = lo / kTileTokens; tile * kTileTokens < hi; ++tile) {
    float sums[kTileTokens] = {};
    for (int ch = 0; ch < args.k_dim; ++ch) {
      float k_ch[kTileTokens];
      widen(args.k_tiles[tile], ch, k_ch);
      for (int lane = 0; lane < kTileTokens; ++lane) sums[lane] = fma(q[ch], k_ch[lane], sums[lane]);
    }
    for (int lane = 0; lane < kTileTokens; ++lane) {  // the lanes of absent slots hold nothing that counts
      const int j = tile * kTileTokens + lane;
      if (j >= lo && j < hi) scores[j] = sums[lane];
    }
  }
}

/// Soft cap and ALiBi, then p_j = exp(s_j − m) in place.
void weigh(const AttendChunkArgs& args, int token, int head, int lo, int hi, float* scores, float* m, float* l) {
  float greatest = -kInf;
  for (int j = lo; j < hi; ++j) {
    float s = scores[j];
    if (args.softcap > 0.0F) s = args.softcap * tanh_f32(s / args.softcap);
    if (args.alibi_slopes != nullptr)
      s = fma(-args.alibi_slopes[head], static_cast<float>(args.distance[token] - j), s);
    scores[j] = s;
    greatest = greater(greatest, s);
  }
  greatest += 0.0F;  // −0 becomes +0: the order of the maximum can't show

  float sums[16] = {};
  for (int j = lo; j < hi; ++j) {
    scores[j] = exp_f32(scores[j] - greatest);
    sums[j % 16] += scores[j];
  }
  *m = greatest;
  *l = tree_sum(sums);
}

template <WidenKeys* widen>
void score(const AttendChunkArgs& args) {
  for (int row = 0; row < args.n_tokens * args.n_group; ++row) {
    const int token = row / args.n_group;
    const int lo = args.lo[token];
    const int hi = args.hi[token];
    if (lo >= hi) {
      args.m[row] = -kInf;
      args.l[row] = 0.0F;
      continue;
    }
    float* scores = args.scores + static_cast<ptrdiff_t>(row) * kChunkTokens;
    dot_scores<widen>(args, args.q + static_cast<ptrdiff_t>(row) * args.k_dim, lo, hi, scores);
    weigh(args, token, row % args.n_group, lo, hi, scores, args.m + row, args.l + row);
  }
}

/// o[ch] = Σ p_j·v_j[ch], j ascending.
template <WidenValues* widen>
void sum_values(const AttendChunkArgs& args) {
  for (int row = 0; row < args.n_tokens * args.n_group; ++row) {
    const int token = row / args.n_group;
    const float* p = args.scores + static_cast<ptrdiff_t>(row) * kChunkTokens;
    float* o = args.o + static_cast<ptrdiff_t>(row) * args.v_dim;
    for (int ch = 0; ch < args.v_dim; ++ch) o[ch] = 0.0F;
    for (int j = args.lo[token]; j < args.hi[token]; ++j) {
      for (int b = 0; b < n_blocks(args.v_dim); ++b) {
        float v[kBlockChannels];
        widen(args.v_tiles[j / kTileTokens], j % kTileTokens, args.v_dim, b, v);
        float* sums = o + static_cast<ptrdiff_t>(b) * kBlockChannels;
        for (int i = 0; i < block_channels(args.v_dim, b); ++i) sums[i] = fma(p[j], v[i], sums[i]);
      }
    }
  }
}

template <WidenKeys* widen>
void values_of_keys(const std::byte* k_tile, int v_dim, float* v_tile) {
  for (int ch = 0; ch < v_dim; ++ch) {
    float slots[kTileTokens];
    widen(k_tile, ch, slots);
    for (int slot = 0; slot < kTileTokens; ++slot) v_tile[static_cast<ptrdiff_t>(slot) * v_dim + ch] = slots[slot];
  }
}

void merge(int n_rows, int v_dim, float* m, float* l, float* o, const float* mc, const float* lc, const float* oc) {
  for (int row = 0; row < n_rows; ++row, o += v_dim, oc += v_dim) {
    if (lc[row] == 0.0F) continue;
    if (l[row] == 0.0F) {
      m[row] = mc[row];
      l[row] = lc[row];
      for (int ch = 0; ch < v_dim; ++ch) o[ch] = oc[ch];
      continue;
    }
    const float greatest = greater(m[row], mc[row]);
    const float a = exp_f32(m[row] - greatest);
    const float b = exp_f32(mc[row] - greatest);
    m[row] = greatest;
    l[row] = fma(l[row], a, lc[row] * b);
    for (int ch = 0; ch < v_dim; ++ch) o[ch] = fma(o[ch], a, oc[ch] * b);
  }
}

void finish(int n_rows, int n_group, int v_dim, const float* sinks, float* m, float* l, float* o, float* out,
            ptrdiff_t token_stride, float* lse) {
  for (int row = 0; row < n_rows; ++row, o += v_dim) {
    if (sinks != nullptr) {
      const float sink = sinks[row % n_group];
      const float greatest = greater(m[row], sink);
      const float a = exp_f32(m[row] - greatest);
      m[row] = greatest;
      l[row] = l[row] * a + exp_f32(sink - greatest);
      for (int ch = 0; ch < v_dim; ++ch) o[ch] *= a;
    }
    float* out_row = out + (row / n_group) * token_stride + static_cast<ptrdiff_t>(row % n_group) * v_dim;
    for (int ch = 0; ch < v_dim; ++ch) out_row[ch] = o[ch] / l[row];
    if (lse != nullptr) lse[row] = static_cast<float>(static_cast<double>(m[row]) + log64(static_cast<double>(l[row])));
  }
}

}  // namespace

const AttentionKernels kAttention = {
    .name = "reference",
    .store_k = {store_k_f32, store_k_f16, store_k_bf16, store_k_q8, store_k_q4, store_k_q4_plain},
    .store_v = {store_v_f32, store_v_f16, store_v_bf16, store_v_q8, store_v_q4, store_v_q4_plain},
    .load_k = {load_k_f32, load_k_f16, load_k_bf16, load_k_q8, load_k_q4, load_k_q4_plain},
    .load_v = {load_v_f32, load_v_f16, load_v_bf16, load_v_q8, load_v_q4, load_v_q4_plain},
    .copy_k = {copy_k_f32, copy_k_16, copy_k_16, copy_k_q8, copy_k_q4, copy_k_q4},
    .copy_v = {copy_v_f32, copy_v_16, copy_v_16, copy_v_q8, copy_v_q4, copy_v_q4},
    .arrange_queries = arrange_queries,
    .score = {score<widen_keys_f32>, score<widen_keys_f16>, score<widen_keys_bf16>, score<widen_keys_q8>,
              score<widen_keys_q4>, score<widen_keys_q4>},
    .sum_values = {sum_values<widen_values_f32>, sum_values<widen_values_f16>, sum_values<widen_values_bf16>,
                   sum_values<widen_values_q8>, sum_values<widen_values_q4>, sum_values<widen_values_q4>},
    .values_of_keys = {values_of_keys<widen_keys_f32>, values_of_keys<widen_keys_f16>, values_of_keys<widen_keys_bf16>,
                       values_of_keys<widen_keys_q8>, nullptr, values_of_keys<widen_keys_q4>},
    .widen_k = {},
    .widen_v = {},
    .merge = merge,
    .finish = finish,
};

}  // namespace decant::kernels::DECANT_REFERENCE
