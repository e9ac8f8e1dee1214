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

/// s_j = Σ q[ch]·k_j[ch], ch ascending, of R rows and the slots of T tiles from `first_tile` on. Absent slots give
/// nothing that is read. Meanwhile fetches value_bytes of each V tile.
template <typename L, typename E, int R, int T>
void dot_tiles(const AttendChunkArgs& args, const RowBlock& block, int first_tile, ptrdiff_t value_bytes) {
  using V = typename L::V;
  constexpr int kStep = Keys<L, E>::kStep;
  constexpr int kFetchEvery = 4;  // channels
  const float* q = args.q + static_cast<ptrdiff_t>(block.first_row) * args.k_dim;
  const auto keys_of = [&]<int... I>(std::integer_sequence<int, I...>) {
    return KeysOf<L, E, T>{{Keys<L, E>(args.k_tiles[first_tile + I])...}};
  };
  auto keys = keys_of(std::make_integer_sequence<int, T>{});
  Prefetcher<L> values[T];
  for (int t = 0; t < T; ++t)
    values[t] = Prefetcher<L>(args.v_tiles[first_tile + t], value_bytes, args.k_dim / kFetchEvery);
  Sums<L, R, T> sums;
  sums.set([](int, int) { return L::zero(); });
  for (int b = 0; b < n_blocks(args.k_dim); ++b) {
    unroll<T>([&](auto t) { keys.at[t].enter(b); });
    const float* q_block = q + ptrdiff_t{b} * kBlockChannels;
    const int n = block_channels(args.k_dim, b);
    for (int ch = 0; ch < n;) {
      for (int t = 0; t < T; ++t) values[t].step();
      for (const int end = smaller(n, ch + kFetchEvery); ch < end; ++ch) {
        sums.add_outer([&](int r) { return q_block[static_cast<ptrdiff_t>(r) * args.k_dim + ch]; },
                       [&](auto t) { return keys.at[t].channel(ch, Index<0>{}); });
        if (kStep == 1 || ++ch == end) continue;
        sums.add_outer([&](int r) { return q_block[static_cast<ptrdiff_t>(r) * args.k_dim + ch]; },
                       [&](auto t) { return keys.at[t].channel(ch - 1, Index<1>{}); });
      }
    }
  }
  float* scores = args.scores + static_cast<ptrdiff_t>(block.first_row) * kChunkTokens + first_tile * kTileTokens;
  sums.get([&](int r, int t, V sum) { L::store(scores + r * kChunkTokens + t * kTileTokens, sum); });
}

template <typename L, typename E, int R>
void dot_scores(const AttendChunkArgs& args, const RowBlock& block, ptrdiff_t value_bytes) {
  constexpr int kTiles = smaller(4, L::kAccumulators / R);
  const int end = (block.any_hi + kTileTokens - 1) / kTileTokens;
  int tile = block.any_lo / kTileTokens;
  for (; tile + kTiles <= end; tile += kTiles) dot_tiles<L, E, R, kTiles>(args, block, tile, value_bytes);
  for (; tile < end; ++tile) dot_tiles<L, E, R, 1>(args, block, tile, value_bytes);
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

template <typename L, typename E>
void score(const AttendChunkArgs& args) {
  for_row_blocks(args.n_tokens * args.n_group, [&args](auto n_rows, int first_row) {
    constexpr int R = n_rows;
    const RowBlock block = row_block(args, first_row, R);
    const ptrdiff_t value_bytes = first_row == 0 ? args.v_tile_bytes : 0;  // later rows find everything in the cache
    if (block.any_lo < block.any_hi) dot_scores<L, E, R>(args, block, value_bytes);
    for (int r = 0; r < R; ++r) weigh<L>(args, first_row + r, block.lo[r], block.hi[r]);
  });
}

}  // namespace
}  // namespace decant::kernels
