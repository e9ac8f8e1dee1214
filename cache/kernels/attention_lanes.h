// SPDX-License-Identifier: Apache-2.0
#pragma once

// The table of a vector ISA, to the bits of attention_ref.cpp: lanes of scores are slots, lanes of values are channels.
// L is Lanes of lanes_avx2.h or lanes_avx512.h. Internal linkage: see there.
//
// Chunks are too short for the hardware's prefetchers: while one is worked on, all of the next one is fetched, as
// evenly as the work goes on. Fetching V beside scores and the next K beside sums asks for more than memory delivers,
// and for nothing while weights are computed.

#include <cstdint>

#include "cache/kernels/attention_tables.h"
#include "cache/kernels/kv_rows.h"
#include "cache/kernels/score_lanes.h"
#include "cache/kernels/value_lanes.h"
#include "cache/kernels/vmath64.h"
#include "cache/kernels/vmath_ref.h"

namespace decant::kernels {
namespace {

/// y[ch] = f(y[ch], x[ch]) for v_dim channels.
template <typename L, typename F>
void for_channels(int v_dim, float* y, const float* x, F f) {
  int ch = 0;
  for (; ch + 16 <= v_dim; ch += 16) L::store(y + ch, f(L::load(y + ch), L::load(x + ch)));
  const int n = v_dim - ch;
  if (n > 0) L::store_n(y + ch, f(L::load_n(y + ch, n), L::load_n(x + ch, n)), n);
}

template <typename L>
void merge(int n_rows, int v_dim, float* m, float* l, float* o, const float* mc, const float* lc, const float* oc) {
  using V = typename L::V;
  for (int first = 0; first < n_rows; first += 16) {
    const int n = smaller(16, n_rows - first);
    const V m_old = L::load_n(m + first, n);
    const V m_chunk = L::load_n(mc + first, n);
    const V greatest = L::select(L::less(m_old, m_chunk), m_chunk, m_old);
    float a[16], b[16], m_new[16];
    L::store(a, exp_lanes_to_one<L>(L::sub(m_old, greatest)));
    L::store(b, exp_lanes_to_one<L>(L::sub(m_chunk, greatest)));
    L::store(m_new, greatest);
    for (int i = 0; i < n; ++i, o += v_dim, oc += v_dim) {
      const int row = first + i;
      if (lc[row] == 0.0F) continue;
      if (l[row] == 0.0F) {
        m[row] = mc[row];
        l[row] = lc[row];
        for_channels<L>(v_dim, o, oc, [](V, V chunk) { return chunk; });
        continue;
      }
      m[row] = m_new[i];
      l[row] = __builtin_fmaf(l[row], a[i], lc[row] * b[i]);
      const V a_all = L::set1(a[i]);
      const V b_all = L::set1(b[i]);
      for_channels<L>(v_dim, o, oc, [=](V sum, V chunk) { return L::fma(sum, a_all, L::mul(chunk, b_all)); });
    }
  }
}

template <typename L>
void finish(int n_rows, int n_group, int v_dim, const float* sinks, float* m, float* l, float* o, float* out,
            ptrdiff_t token_stride, float* lse) {
  using V = typename L::V;
  for (int row = 0; row < n_rows; ++row, o += v_dim) {
    if (sinks != nullptr) {
      const float sink = sinks[row % n_group];
      const float greatest = greater(m[row], sink);
      const float a = exp_f32(m[row] - greatest);
      m[row] = greatest;
      l[row] = l[row] * a + exp_f32(sink - greatest);
      const V a_all = L::set1(a);
      for_channels<L>(v_dim, o, o, [=](V sum, V) { return L::mul(sum, a_all); });
    }
    float* out_row = out + (row / n_group) * token_stride + static_cast<ptrdiff_t>(row % n_group) * v_dim;
    const V l_all = L::set1(l[row]);
    for_channels<L>(v_dim, out_row, o, [=](V, V sum) { return L::div(sum, l_all); });
    if (lse != nullptr) lse[row] = static_cast<float>(static_cast<double>(m[row]) + log64(static_cast<double>(l[row])));
  }
}

/// A slot's elements into a tile, `step` apart. False if one is not finite, or not as binary16.
template <typename L>
bool store_row(const float* x, int dim, float* out, int step) {
  bool fits = true;
  for (int i = 0; i < dim; i += 16) {
    const int n = smaller(16, dim - i);
    const typename L::V lanes = n == 16 ? L::load(x + i) : L::load_n(x + i, n);
    fits = L::all(L::is_finite(lanes)) && fits;
    for (int lane = 0; lane < n; ++lane) out[static_cast<ptrdiff_t>(i + lane) * step] = x[i + lane];
  }
  return fits;
}

template <typename L>
bool store_row(const float* x, int dim, uint16_t* out, int step) {
  // 65520 is half way from the greatest binary16 number to 2^16: from there on, rounding gives infinity.
  const typename L::V limit = L::set1(65520.0F);
  bool fits = true;
  for (int i = 0; i < dim; i += 16) {
    const int n = smaller(16, dim - i);
    const typename L::V lanes = n == 16 ? L::load(x + i) : L::load_n(x + i, n);
    fits = L::all(L::less(L::abs(lanes), limit)) && fits;
    uint16_t half[16];
    L::store_half(half, lanes);
    for (int lane = 0; lane < n; ++lane) out[static_cast<ptrdiff_t>(i + lane) * step] = half[lane];
  }
  return fits;
}

template <typename L, typename E>
bool store_k(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row<L>(k, k_dim, reinterpret_cast<E*>(tile) + lane, kTileTokens);
}
template <typename L, typename E>
bool store_v(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row<L>(v, v_dim, reinterpret_cast<E*>(tile) + static_cast<ptrdiff_t>(row) * v_dim, 1);
}

template <typename L>
constexpr AttentionKernels attention_table(const char* name) {
  return {
      .name = name,
      .store_k = {store_k<L, float>, store_k<L, uint16_t>, store_k_bf16, store_k_q8, store_k_q4, store_k_q4_plain},
      .store_v = {store_v<L, float>, store_v<L, uint16_t>, store_v_bf16, store_v_q8, store_v_q4, store_v_q4_plain},
      .load_k = {load_k_f32, load_k_f16, load_k_bf16, load_k_q8, load_k_q4, load_k_q4_plain},
      .load_v = {load_v_f32, load_v_f16, load_v_bf16, load_v_q8, load_v_q4, load_v_q4_plain},
      .copy_k = {copy_k_f32, copy_k_16, copy_k_16, copy_k_q8, copy_k_q4, copy_k_q4},
      .copy_v = {copy_v_f32, copy_v_16, copy_v_16, copy_v_q8, copy_v_q4, copy_v_q4},
      .arrange_queries = arrange_queries,
      .score = {score<L, float>, score<L, uint16_t>, score<L, Bf16>, score<L, int8_t>, score<L, Nibble>,
                score<L, Nibble>},
      .sum_values = {sum_values<L, float>, sum_values<L, uint16_t>, sum_values<L, Bf16>, sum_values<L, int8_t>,
                     sum_values<L, Nibble>, sum_values<L, Nibble>},
      .values_of_keys = {values_of_keys<L, float>, values_of_keys<L, uint16_t>, values_of_keys<L, Bf16>,
                         values_of_keys<L, int8_t>, nullptr, values_of_keys<L, Nibble>},
      .widen_k = {nullptr, nullptr, nullptr, widen_keys<L, int8_t>, widen_keys<L, Nibble>, widen_keys<L, Nibble>},
      .widen_v = {nullptr, nullptr, nullptr, widen_values<L, int8_t>, widen_values<L, Nibble>, widen_values<L, Nibble>},
      .merge = merge<L>,
      .finish = finish<L>,
  };
}

}  // namespace
}  // namespace decant::kernels
