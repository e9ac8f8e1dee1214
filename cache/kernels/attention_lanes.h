// SPDX-License-Identifier: Apache-2.0
#pragma once

// Attention over a chunk for 16 lanes at a time, to the bits of attention_ref.cpp: lanes of scores are slots, lanes of
// values are channels. L is Lanes of lanes_avx2.h or lanes_avx512.h. Internal linkage: see there.
//
// Rows (query heads of the group, and tokens) go in blocks of up to kMaxRows, so that an element of K or V that was
// loaded and widened serves all of them. Chunks are too short for the hardware's prefetchers: V is fetched while scores
// are computed, and the next chunk's K while values are summed.

#include <cstdint>
#include <utility>

#include "cache/kernels/attention_tables.h"
#include "cache/kernels/vmath64.h"
#include "cache/kernels/vmath_lanes.h"
#include "cache/kernels/vmath_ref.h"

namespace decant::kernels {
namespace {

constexpr int kMaxRows = 6;
constexpr int kLineBytes = 64;

constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int greater(int a, int b) { return a > b ? a : b; }
constexpr float greater(float a, float b) { return a < b ? b : a; }

/// f(Index<0>{}), f(Index<1>{}), …: arrays of vectors stay in registers only if every index is a constant early on.
template <int I>
struct Index {
  constexpr operator int() const { return I; }
};
template <typename F, int... I>
[[gnu::always_inline]] inline void unroll(std::integer_sequence<int, I...>, F f) {
  (f(Index<I>{}), ...);
}
template <int N, typename F>
[[gnu::always_inline]] inline void unroll(F f) {
  unroll(std::make_integer_sequence<int, N>{}, f);
}

/// R × C sums of vectors, held in registers.
template <typename L, int R, int C>
struct Sums {
  using V = typename L::V;
  V at[R][C];

  /// at[r][c] = f(r, c)
  template <typename F>
  [[gnu::always_inline]] void set(F f) {
    unroll<R>([&](auto r) { unroll<C>([&](auto c) { at[r][c] = f(r, c); }); });
  }
  /// f(r, c, at[r][c])
  template <typename F>
  [[gnu::always_inline]] void get(F f) const {
    unroll<R>([&](auto r) { unroll<C>([&](auto c) { f(r, c, at[r][c]); }); });
  }
  /// at[r][c] += factor(r) · x(c)
  template <typename Factor, typename X>
  [[gnu::always_inline]] void add_outer(Factor factor, X x) {
    V x_all[C];
    unroll<C>([&](auto c) { x_all[c] = x(c); });
    unroll<R>([&](auto r) {
      const V factor_all = L::set1(factor(r));
      unroll<C>([&](auto c) { at[r][c] = L::fma(factor_all, x_all[c], at[r][c]); });
    });
  }
};

/// Rows of one block and the slots [lo, hi) of each.
struct RowBlock {
  int first_row = 0;
  int lo[kMaxRows] = {};
  int hi[kMaxRows] = {};
  int any_lo = kChunkTokens, any_hi = 0;  ///< slots that some row attends to lie within
  int all_lo = 0, all_hi = kChunkTokens;  ///< slots that every row attends to
};

RowBlock row_block(const AttendChunkArgs& args, int first_row, int n_rows) {
  RowBlock block;
  block.first_row = first_row;
  for (int r = 0; r < n_rows; ++r) {
    const int token = (first_row + r) / args.n_group;
    const int lo = block.lo[r] = args.lo[token];
    const int hi = block.hi[r] = args.hi[token];
    block.all_lo = greater(block.all_lo, lo);
    block.all_hi = smaller(block.all_hi, hi);
    if (lo >= hi) continue;
    block.any_lo = smaller(block.any_lo, lo);
    block.any_hi = greater(block.any_hi, hi);
  }
  block.all_hi = greater(block.all_hi, block.all_lo);
  return block;
}

/// Fetches a run of memory a few lines at a time, between other work.
template <typename L>
class Prefetcher {
 public:
  Prefetcher() = default;
  /// `bytes` from `from` (null: nothing) in about n_steps steps.
  Prefetcher(const std::byte* from, int bytes, int n_steps)
      : at_(from), bytes_left_(from == nullptr ? 0 : bytes), step_bytes_(bytes / greater(n_steps, 1)) {}
  void step() {
    for (int done = 0; done < step_bytes_ && bytes_left_ > 0; done += kLineBytes) {
      L::prefetch(at_);
      at_ += kLineBytes;
      bytes_left_ -= kLineBytes;
    }
  }

 private:
  const std::byte* at_ = nullptr;
  int bytes_left_ = 0;
  int step_bytes_ = 0;
};

/// s_j = Σ q[ch]·k_j[ch], ch ascending, of R rows and the slots of T tiles from `first_tile` on. Absent slots give
/// nothing that is read. Meanwhile fetches value_bytes of each V tile.
template <typename L, typename K, int R, int T>
void dot_tiles(const AttendChunkArgs& args, const RowBlock& block, int first_tile, int value_bytes) {
  using V = typename L::V;
  constexpr int kFetchEvery = 4;  // channels
  const float* q = args.q + static_cast<ptrdiff_t>(block.first_row) * args.k_dim;
  const K* k[T];
  Prefetcher<L> values[T];
  for (int t = 0; t < T; ++t) {
    k[t] = reinterpret_cast<const K*>(args.k_tiles[first_tile + t]);
    values[t] = Prefetcher<L>(args.v_tiles[first_tile + t], value_bytes, args.k_dim / kFetchEvery);
  }
  Sums<L, R, T> sums;
  sums.set([](int, int) { return L::zero(); });
  for (int ch = 0; ch < args.k_dim;) {
    for (int t = 0; t < T; ++t) values[t].step();
    for (const int end = smaller(args.k_dim, ch + kFetchEvery); ch < end; ++ch) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(ch) * kTileTokens;
      sums.add_outer([&](int r) { return q[static_cast<ptrdiff_t>(r) * args.k_dim + ch]; },
                     [&](int t) { return L::load(k[t] + at); });
    }
  }
  float* scores = args.scores + static_cast<ptrdiff_t>(block.first_row) * kChunkTokens + first_tile * kTileTokens;
  sums.get([&](int r, int t, V sum) { L::store(scores + r * kChunkTokens + t * kTileTokens, sum); });
}

template <typename L, typename K, int R>
void dot_scores(const AttendChunkArgs& args, const RowBlock& block, int value_bytes) {
  constexpr int kTiles = smaller(4, L::kAccumulators / R);
  const int end = (block.any_hi + kTileTokens - 1) / kTileTokens;
  int tile = block.any_lo / kTileTokens;
  for (; tile + kTiles <= end; tile += kTiles) dot_tiles<L, K, R, kTiles>(args, block, tile, value_bytes);
  for (; tile < end; ++tile) dot_tiles<L, K, R, 1>(args, block, tile, value_bytes);
}

/// Soft cap and ALiBi, then p_j = exp(s_j − m) in place.
template <typename L>
void weigh(const AttendChunkArgs& args, int row, int lo, int hi) {
  using V = typename L::V;
  if (lo >= hi) {
    args.m[row] = -__builtin_inff();
    args.l[row] = 0.0F;
    return;
  }
  float* scores = args.scores + static_cast<ptrdiff_t>(row) * kChunkTokens;
  const int first_tile = lo / kTileTokens;
  const int end = (hi + kTileTokens - 1) / kTileTokens;
  const auto attended = [lo, hi](int tile) {
    return L::range(greater(0, lo - tile * kTileTokens), smaller(kTileTokens, hi - tile * kTileTokens));
  };

  const V least = L::set1(-__builtin_inff());
  V greatest = least;
  for (int tile = first_tile; tile < end; ++tile) {
    V s = L::load(scores + tile * kTileTokens);
    if (args.softcap > 0.0F) {
      const V cap = L::set1(args.softcap);
      s = L::mul(cap, tanh_lanes<L>(L::div(s, cap)));
    }
    if (args.alibi_slopes != nullptr) {
      const V distance = L::sub(L::set1(static_cast<float>(args.distance[row / args.n_group])),
                                L::count_from(tile * kTileTokens));  // whole numbers: exact
      s = L::fma(L::set1(-args.alibi_slopes[row % args.n_group]), distance, s);
    }
    L::store(scores + tile * kTileTokens, s);
    greatest = L::max(greatest, L::select(attended(tile), s, least));
  }
  const float m = L::greatest(greatest) + 0.0F;  // −0 becomes +0: the order of the maximum can't show

  V sums = L::zero();
  for (int tile = first_tile; tile < end; ++tile) {
    const V s = L::load(scores + tile * kTileTokens);
    const V p = L::select(attended(tile), exp_lanes<L>(L::sub(s, L::set1(m))), L::zero());
    L::store(scores + tile * kTileTokens, p);
    sums = L::add(sums, p);  // + 0 changes no sum: none is −0
  }
  args.m[row] = m;
  args.l[row] = L::tree_sum(sums);
}

/// o[ch] = fma(p_j, v_j[ch], o[ch]) for R rows from first_row on, the slots [lo, hi), j ascending, and 16·C channels
/// from first_ch on; if kPartial, only n_last of the last 16 are there. Meanwhile fetches key_bytes of each K tile of
/// the next chunk.
template <typename L, typename T, int R, int C, bool kPartial>
void add_slots(const AttendChunkArgs& args, int first_row, int first_ch, int n_last, int lo, int hi, int key_bytes) {
  using V = typename L::V;
  const float* p = args.scores + static_cast<ptrdiff_t>(first_row) * kChunkTokens;
  float* o = args.o + static_cast<ptrdiff_t>(first_row) * args.v_dim + first_ch;
  const auto load = [n_last](const auto* from, int c) {
    return kPartial && c == C - 1 ? L::load_n(from + c * 16, n_last) : L::load(from + c * 16);
  };
  Sums<L, R, C> sums;
  sums.set([&](int r, int c) { return load(o + static_cast<ptrdiff_t>(r) * args.v_dim, c); });
  for (int j = lo; j < hi;) {
    const int tile = j / kTileTokens;
    const int tile_end = smaller(hi, (tile + 1) * kTileTokens);
    const T* v = reinterpret_cast<const T*>(args.v_tiles[tile]) + static_cast<ptrdiff_t>(j % kTileTokens) * args.v_dim +
                 first_ch;
    Prefetcher<L> next_keys(args.next_k_tiles[tile], key_bytes, kTileTokens);
    for (; j < tile_end; ++j, v += args.v_dim) {
      next_keys.step();
      sums.add_outer([&](int r) { return p[r * kChunkTokens + j]; }, [&](int c) { return load(v, c); });
    }
  }
  sums.get([&](int r, int c, V sum) {
    float* to = o + static_cast<ptrdiff_t>(r) * args.v_dim + c * 16;
    if (kPartial && c == C - 1)
      L::store_n(to, sum, n_last);
    else
      L::store(to, sum);
  });
}

/// All slots of a block's rows, for some channels.
template <typename L, typename T, int R, int C, bool kPartial>
void sum_channels(const AttendChunkArgs& args, const RowBlock& block, int first_ch, int n_last, int key_bytes) {
  // Slots that only some rows attend to, at the edges of causality and of windows, row by row: others must not touch
  // them.
  const auto some_rows = [&](int lo, int hi) {
    if (lo >= hi) return;
    for (int r = 0; r < R; ++r)
      add_slots<L, T, 1, C, kPartial>(args, block.first_row + r, first_ch, n_last, greater(lo, block.lo[r]),
                                      smaller(hi, block.hi[r]), 0);
  };
  some_rows(block.any_lo, smaller(block.all_lo, block.any_hi));
  add_slots<L, T, R, C, kPartial>(args, block.first_row, first_ch, n_last, block.all_lo, block.all_hi, key_bytes);
  some_rows(greater(block.all_hi, block.any_lo), block.any_hi);
}

/// o[ch] = Σ p_j·v_j[ch], j ascending from +0.
template <typename L, typename T, int R>
void sum_values(const AttendChunkArgs& args, const RowBlock& block, int key_bytes) {
  constexpr int kWide = smaller(4, L::kAccumulators / R);
  float* o = args.o + static_cast<ptrdiff_t>(block.first_row) * args.v_dim;
  for (int i = 0; i < R * args.v_dim; ++i) o[i] = 0.0F;
  int ch = 0;
  for (; ch + kWide * 16 <= args.v_dim; ch += kWide * 16, key_bytes = 0)
    sum_channels<L, T, R, kWide, false>(args, block, ch, 16, key_bytes);
  for (; ch + 16 <= args.v_dim; ch += 16, key_bytes = 0)
    sum_channels<L, T, R, 1, false>(args, block, ch, 16, key_bytes);
  if (ch < args.v_dim) sum_channels<L, T, R, 1, true>(args, block, ch, args.v_dim - ch, key_bytes);
}

template <typename L, typename K, typename V, int R>
void attend_rows(const AttendChunkArgs& args, int first_row) {
  const RowBlock block = row_block(args, first_row, R);
  if (block.any_lo < block.any_hi) {
    const bool fetch = first_row == 0;  // later rows find everything in the cache
    const int tile = kTileTokens;
    dot_scores<L, K, R>(args, block, fetch ? tile * args.v_dim * static_cast<int>(sizeof(V)) : 0);
    for (int r = 0; r < R; ++r) weigh<L>(args, first_row + r, block.lo[r], block.hi[r]);
    sum_values<L, V, R>(args, block, fetch ? tile * args.k_dim * static_cast<int>(sizeof(K)) : 0);
  } else {
    for (int r = 0; r < R; ++r) weigh<L>(args, first_row + r, 0, 0);
  }
}

template <typename L, typename K, typename V>
void attend_chunk(const AttendChunkArgs& args) {
  const int n_rows = args.n_tokens * args.n_group;
  int n_blocks = (n_rows + kMaxRows - 1) / kMaxRows;
  for (int row = 0; row < n_rows; --n_blocks) {
    const int n = (n_rows - row + n_blocks - 1) / n_blocks;  // blocks of about the same size
    switch (n) {
      case 1:
        attend_rows<L, K, V, 1>(args, row);
        break;
      case 2:
        attend_rows<L, K, V, 2>(args, row);
        break;
      case 3:
        attend_rows<L, K, V, 3>(args, row);
        break;
      case 4:
        attend_rows<L, K, V, 4>(args, row);
        break;
      case 5:
        attend_rows<L, K, V, 5>(args, row);
        break;
      default:
        attend_rows<L, K, V, 6>(args, row);
        break;
    }
    row += n;
  }
}

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
  for (int row = 0; row < n_rows; ++row, o += v_dim, oc += v_dim) {
    if (lc[row] == 0.0F) continue;
    if (l[row] == 0.0F) {
      m[row] = mc[row];
      l[row] = lc[row];
      for_channels<L>(v_dim, o, oc, [](V, V chunk) { return chunk; });
      continue;
    }
    const float greatest = greater(m[row], mc[row]);
    const float a = exp_f32(m[row] - greatest);
    const float b = exp_f32(mc[row] - greatest);
    m[row] = greatest;
    l[row] = __builtin_fmaf(l[row], a, lc[row] * b);
    const V a_all = L::set1(a);
    const V b_all = L::set1(b);
    for_channels<L>(v_dim, o, oc, [=](V sum, V chunk) { return L::fma(sum, a_all, L::mul(chunk, b_all)); });
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

template <typename L, typename T>
bool store_k(const float* k, int k_dim, std::byte* tile, int lane) {
  return store_row<L>(k, k_dim, reinterpret_cast<T*>(tile) + lane, kTileTokens);
}
template <typename L, typename T>
bool store_v(const float* v, int v_dim, std::byte* tile, int row) {
  return store_row<L>(v, v_dim, reinterpret_cast<T*>(tile) + static_cast<ptrdiff_t>(row) * v_dim, 1);
}

template <typename L>
constexpr AttentionKernels attention_table(const char* name) {
  return {
      .name = name,
      .store_k = {store_k<L, float>, store_k<L, uint16_t>},
      .store_v = {store_v<L, float>, store_v<L, uint16_t>},
      .load_k = {load_k_f32, load_k_f16},
      .load_v = {load_v_f32, load_v_f16},
      .attend_chunk = {{attend_chunk<L, float, float>, attend_chunk<L, float, uint16_t>},
                       {attend_chunk<L, uint16_t, float>, attend_chunk<L, uint16_t, uint16_t>}},
      .merge = merge<L>,
      .finish = finish<L>,
  };
}

}  // namespace
}  // namespace decant::kernels
