// SPDX-License-Identifier: Apache-2.0
#pragma once

// Scores of a chunk for 16 slots at a time, to the bits of attention_ref.cpp. L is Lanes of lanes_avx2.h or
// lanes_avx512.h; E names the stored element (elements.h). Internal linkage: see lanes_avx2.h.

#include "cache/kernels/elements.h"
#include "cache/kernels/kv_tiles.h"
#include "cache/kernels/row_blocks.h"
#include "cache/kernels/vmath_lanes.h"

namespace decant::kernels {
namespace {

/// Reads a K tile block by block of 32 channels: enter(b), then 16 slots of any channel first + i of the block, first
/// even.
template <typename L, typename E>
class Keys {
 public:
  static constexpr int kStep = 1;  ///< channels that are read together
  explicit Keys(const std::byte* tile) : tile_(reinterpret_cast<const E*>(tile)) {}
  void enter(int block) { block_ = tile_ + ptrdiff_t{block} * kBlockChannels * kTileTokens; }
  template <int I>
  [[gnu::always_inline]] typename L::V channel(int first, Index<I>) const {
    return L::load(block_ + (first + I) * kTileTokens);
  }

 private:
  const E* tile_;
  const E* block_ = nullptr;
};

template <typename L>
class Keys<L, int8_t> {
 public:
  static constexpr int kStep = 1;
  explicit Keys(const std::byte* tile) : tile_(tile) {}
  void enter(int block) {
    const std::byte* const at = tile_ + block * kKeys8Bytes;
    scales_ = L::load(reinterpret_cast<const uint16_t*>(at));
    block_ = reinterpret_cast<const int8_t*>(at + kScalesBytes);
  }
  template <int I>
  [[gnu::always_inline]] typename L::V channel(int first, Index<I>) const {
    return L::mul(L::load(block_ + (first + I) * kTileTokens), scales_);
  }

 private:
  const std::byte* tile_;
  const int8_t* block_ = nullptr;
  typename L::V scales_;
};

template <typename L>
class Keys<L, Nibble> {
 public:
  static constexpr int kStep = 2;
  explicit Keys(const std::byte* tile) : tile_(tile) {}
  void enter(int block) {
    const std::byte* const at = tile_ + block * kKeys4Bytes;
    scales_ = L::load(reinterpret_cast<const uint16_t*>(at));
    block_ = at + kScalesBytes;
  }
  template <int I>
  [[gnu::always_inline]] typename L::V channel(int first, Index<I>) const {
    const auto both = L::load_nibbles(block_ + (first / 2 + I / 2) * kTileTokens);
    return L::mul(I % 2 == 0 ? L::low(both) : L::high(both), scales_);
  }

 private:
  const std::byte* tile_;
  const std::byte* block_ = nullptr;
  typename L::V scales_;
};

template <typename L, typename E, int T>
struct KeysOf {
  Keys<L, E> at[T];
};

/// A K tile as one of f32.
template <typename L, typename E>
void widen_keys(const std::byte* tile, int k_dim, float* k_tile) {
  Keys<L, E> keys(tile);
  for (int b = 0; b < n_blocks(k_dim); ++b) {
    keys.enter(b);
    const int n = block_channels(k_dim, b);
    for (int ch = 0; ch < n; ch += 2, k_tile += 2 * kTileTokens) {
      L::store(k_tile, keys.channel(ch, Index<0>{}));
      if (ch + 1 < n) L::store(k_tile + kTileTokens, keys.channel(ch, Index<1>{}));
    }
  }
}

/// Queries of a row block channel by channel, its rows side by side: one pointer serves all of them.
void arrange_queries(const float* rows, int n_rows, int k_dim, float* q) {
  for_row_blocks(n_rows, [=](auto n, int first_row) {
    constexpr int R = n;
    const float* from = rows + static_cast<ptrdiff_t>(first_row) * k_dim;
    float* to = q + static_cast<ptrdiff_t>(first_row) * k_dim;
    for (ptrdiff_t ch = 0; ch < k_dim; ++ch)
      for (ptrdiff_t r = 0; r < R; ++r) to[ch * R + r] = from[r * k_dim + ch];
  });
}

constexpr int kUnrolled = 4;  // channels

/// sums += q · (channel first + I of T tiles). A function, not a lambda: sums that one captures end up in memory.
template <int I, typename L, typename E, int R, int T>
[[gnu::always_inline]] inline void add_channel(Sums<L, R, T>& sums, const KeysOf<L, E, T>& keys, const float* q,
                                               int first) {
  sums.add_outer([q](int r) { return q[r]; }, [&keys, first](auto t) { return keys.at[t].channel(first, Index<I>{}); });
}

/// s_j = Σ q[ch]·k_j[ch], ch ascending, of R rows and the slots of T tiles from `first_tile` on. Absent slots give
/// nothing that is read.
template <typename L, typename E, int R, int T>
void dot_tiles(const AttendChunkArgs& args, const RowBlock& block, int first_tile, Fetcher<L>& fetcher, int lines) {
  using V = typename L::V;
  const auto keys_of = [&]<int... I>(std::integer_sequence<int, I...>) {
    return KeysOf<L, E, T>{{Keys<L, E>(args.k_tiles[first_tile + I])...}};
  };
  auto keys = keys_of(std::make_integer_sequence<int, T>{});
  Fetcher<L> fetch = fetcher;  // a copy, to be kept in registers
  const float* q = args.q + static_cast<ptrdiff_t>(block.first_row) * args.k_dim;
  Sums<L, R, T> sums;
  sums.set([](int, int) { return L::zero(); });
  for (int b = 0; b < n_blocks(args.k_dim); ++b) {
    unroll<T>([&](auto t) { keys.at[t].enter(b); });
    const int n = block_channels(args.k_dim, b);
    int ch = 0;
    for (; ch + kUnrolled <= n; ch += kUnrolled) {
      fetch.step(lines);
      add_channel<0>(sums, keys, q, ch);
      add_channel<1>(sums, keys, q + R, ch);
      add_channel<2>(sums, keys, q + 2 * R, ch);
      add_channel<3>(sums, keys, q + 3 * R, ch);
      q += kUnrolled * R;
    }
    for (; ch < n; ch += 2) {
      add_channel<0>(sums, keys, q, ch);
      if (ch + 1 < n) add_channel<1>(sums, keys, q + R, ch);
      q += 2 * R;
    }
  }
  fetcher = fetch;
  float* scores = args.scores + static_cast<ptrdiff_t>(block.first_row) * kChunkTokens + first_tile * kTileTokens;
  sums.get([&](int r, int t, V sum) { L::store(scores + r * kChunkTokens + t * kTileTokens, sum); });
}

template <typename L, typename E, int R>
void dot_scores(const AttendChunkArgs& args, const RowBlock& block, Fetcher<L>& fetcher, int n_blocks) {
  constexpr int kTiles = smaller(4, L::kAccumulators / R);
  const int end = (block.any_hi + kTileTokens - 1) / kTileTokens;
  int tile = block.any_lo / kTileTokens;
  const int n_steps = (end - tile + kTiles - 1) / kTiles * (args.k_dim / kUnrolled);
  const int lines = lines_per_step(args.fetch, kFetchedInDots, n_steps * n_blocks);
  for (; tile + kTiles <= end; tile += kTiles) dot_tiles<L, E, R, kTiles>(args, block, tile, fetcher, lines);
  for (; tile < end; ++tile) dot_tiles<L, E, R, 1>(args, block, tile, fetcher, lines);
}

/// Soft cap and ALiBi for 16 scores of a row.
template <typename L>
typename L::V adjust(const AttendChunkArgs& args, int row, int tile, typename L::V s) {
  using V = typename L::V;
  if (args.softcap > 0.0F) {
    const V cap = L::set1(args.softcap);
    s = L::mul(cap, tanh_lanes<L>(L::div(s, cap)));
  }
  if (args.alibi_slopes != nullptr) {
    const V distance = L::sub(L::set1(static_cast<float>(args.distance[row / args.n_group])),
                              L::count_from(tile * kTileTokens));  // whole numbers: exact
    s = L::fma(L::set1(-args.alibi_slopes[row % args.n_group]), distance, s);
  }
  return s;
}

/// Soft cap and ALiBi, then p_j = exp(s_j − m) in place. Each pass goes over all rows, so that one row's chain of
/// operations runs beside the others'.
template <typename L, int R>
void weigh(const AttendChunkArgs& args, const RowBlock& block, Fetcher<L>& fetcher, int lines) {
  using V = typename L::V;
  const V least = L::set1(-__builtin_inff());
  const bool adjusts = args.softcap > 0.0F || args.alibi_slopes != nullptr;
  float* const scores = args.scores + static_cast<ptrdiff_t>(block.first_row) * kChunkTokens;
  // f(scores of a tile, tile, function that replaces lanes that aren't attended to) for each tile of a row.
  const auto for_tiles = [&block, scores ](int r, auto f) __attribute__((always_inline)) {
    const int lo = block.lo[r], hi = block.hi[r];
    if (lo >= hi) return;
    float* const at = scores + ptrdiff_t{r} * kChunkTokens;
    const auto edge = [&](int tile) {
      const auto attended =
          L::range(greater(0, lo - tile * kTileTokens), smaller(kTileTokens, hi - tile * kTileTokens));
      f(at + tile * kTileTokens, tile, [attended](V s, V otherwise) { return L::select(attended, s, otherwise); });
    };
    int tile = lo / kTileTokens;
    if (lo % kTileTokens != 0) edge(tile++);
    for (; (tile + 1) * kTileTokens <= hi; ++tile) f(at + tile * kTileTokens, tile, [](V s, V) { return s; });
    if (tile * kTileTokens < hi) edge(tile);
  };

  float m[R];
  for (int r = 0; r < R; ++r) {
    V greatest = least;
    for_tiles(r, [&](float* at, int tile, auto attended) {
      V s = L::load(at);
      if (adjusts) {
        s = adjust<L>(args, block.first_row + r, tile, s);
        L::store(at, s);
      }
      greatest = L::max(greatest, attended(s, least));
    });
    m[r] = L::greatest(greatest) + 0.0F;  // −0 becomes +0: the order of the maximum can't show
  }
  V sums[R];
  for (int r = 0; r < R; ++r) {
    const V m_all = L::set1(m[r]);
    V sum = L::zero();
    for_tiles(r, [&](float* at, int, auto attended) {
      fetcher.step(lines);
      const V p = attended(exp_lanes_to_one<L>(L::sub(L::load(at), m_all)), L::zero());
      L::store(at, p);
      sum = L::add(sum, p);  // + 0 changes no sum: none is −0
    });
    sums[r] = sum;
  }
  for (int r = 0; r < R; ++r) {
    args.m[block.first_row + r] = m[r];  // −inf where nothing is attended to, and then l is 0
    args.l[block.first_row + r] = L::tree_sum(sums[r]);
  }
}

template <typename L, typename E>
void score(const AttendChunkArgs& args) {
  const int n_rows = args.n_tokens * args.n_group, n_blocks = n_row_blocks(n_rows);
  Fetcher<L> fetcher(args.fetch, 0);
  const int lines = lines_per_step(args.fetch, kFetchedInWeights, n_rows * kChunkTiles);
  for_row_blocks(n_rows, [&](auto n, int first_row) {
    constexpr int R = n;
    const RowBlock block = row_block(args, first_row, R);
    if (block.any_lo < block.any_hi) dot_scores<L, E, R>(args, block, fetcher, n_blocks);
    weigh<L, R>(args, block, fetcher, lines);
  });
}

}  // namespace
}  // namespace decant::kernels
