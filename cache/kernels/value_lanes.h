// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sums of a chunk's values for 16 channels at a time, to the bits of attention_ref.cpp. L is Lanes of lanes_avx2.h or
// lanes_avx512.h; E names the stored element (elements.h). Internal linkage: see lanes_avx2.h.

#include "cache/kernels/elements.h"
#include "cache/kernels/kv_tiles.h"
#include "cache/kernels/row_blocks.h"
#include "cache/kernels/score_lanes.h"

namespace decant::kernels {
namespace {

/// 16·C channels from first_ch on, of which a row has n_last of the last 16 if kPartial.
struct ChannelRun {
  int v_dim = 0;
  int first_ch = 0;
  int n_last = 16;
};

/// Reads such a run of V tiles: enter(tile), at_slot(row), then 16 channels at a time. C is 1, or even with first_ch a
/// multiple of 32.
template <typename L, typename E, int C, bool kPartial>
class Values {
 public:
  explicit Values(const ChannelRun& run) : run_(run) {}
  void enter(const std::byte* tile) { tile_ = reinterpret_cast<const E*>(tile) + run_.first_ch; }
  void at_slot(int row) { slot_ = tile_ + static_cast<ptrdiff_t>(row) * run_.v_dim; }
  template <int I>
  [[gnu::always_inline]] typename L::V channels(Index<I>) const {
    return kPartial && I == C - 1 ? L::load_n(slot_ + I * 16, run_.n_last) : L::load(slot_ + I * 16);
  }

 private:
  ChannelRun run_;
  const E* tile_ = nullptr;
  const E* slot_ = nullptr;
};

/// The scales of a run's blocks, for the 16 slots of a tile, widened once for all of them.
template <typename L, int C>
class ValueScales {
 public:
  void enter(const std::byte* tile, int first_ch) {
    const std::byte* const from = tile + first_ch / kBlockChannels * kScalesBytes;
    for (int b = 0; b < kBlocks; ++b)
      L::store(scales_[b], L::load(reinterpret_cast<const uint16_t*>(from + b * kScalesBytes)));
  }
  typename L::V of(int slot, int vector) const { return L::set1(scales_[vector / 2][slot]); }

 private:
  static constexpr int kBlocks = (C + 1) / 2;
  float scales_[kBlocks][kTileTokens];
};

template <typename L, int C, bool kPartial>
class Values<L, int8_t, C, kPartial> {
 public:
  explicit Values(const ChannelRun& run) : run_(run) {}
  void enter(const std::byte* tile) {
    scales_.enter(tile, run_.first_ch);
    tile_ = reinterpret_cast<const int8_t*>(tile + values_at(run_.v_dim)) + run_.first_ch;
  }
  void at_slot(int row) {
    row_ = row;
    slot_ = tile_ + static_cast<ptrdiff_t>(row) * run_.v_dim;
  }
  template <int I>
  [[gnu::always_inline]] typename L::V channels(Index<I>) const {
    const bool some = kPartial && I == C - 1;
    return L::mul(some ? L::load_n(slot_ + I * 16, run_.n_last) : L::load(slot_ + I * 16), scales_.of(row_, I));
  }

 private:
  ChannelRun run_;
  ValueScales<L, C> scales_;
  const int8_t* tile_ = nullptr;
  const int8_t* slot_ = nullptr;
  int row_ = 0;
};

template <typename L, int C, bool kPartial>
class Values<L, Nibble, C, kPartial> {
 public:
  explicit Values(const ChannelRun& run) : run_(run), row_bytes_(row4_bytes(run.v_dim)) {
    const int block = run.first_ch / kBlockChannels;
    const int n = block_channels(run.v_dim, block);
    offset_ = values_at(run.v_dim) + ptrdiff_t{block} * 16;
    is_high_ = run.first_ch % kBlockChannels != 0;
    n_narrow_ = n > 16 ? 0 : block4_bytes(n);
  }
  void enter(const std::byte* tile) {
    scales_.enter(tile, run_.first_ch);
    tile_ = tile + offset_;
  }
  void at_slot(int row) {
    row_ = row;
    slot_ = tile_ + row * row_bytes_;
  }
  template <int I>
  [[gnu::always_inline]] typename L::V channels(Index<I>) const {
    return L::mul(levels(Index<I>{}), scales_.of(row_, I));
  }

 private:
  template <int I>
  [[gnu::always_inline]] typename L::V levels(Index<I>) const {
    if constexpr (C > 1) {
      const auto both = L::load_nibbles(slot_ + I / 2 * 16);
      return I % 2 == 0 ? L::low(both) : L::high(both);
    } else {  // the branches are the same for every slot; what a partial run has beyond its end is not stored
      if (n_narrow_ != 0) return L::low(L::load_nibbles_8(slot_, n_narrow_));
      const auto both = L::load_nibbles(slot_);
      return is_high_ ? L::high(both) : L::low(both);
    }
  }

  ChannelRun run_;
  ValueScales<L, C> scales_;
  ptrdiff_t row_bytes_;
  ptrdiff_t offset_ = 0;  ///< from a tile to its first slot's bytes of the run's first block
  bool is_high_ = false;
  int n_narrow_ = 0;  ///< bytes of a last block of up to 16 channels
  const std::byte* tile_ = nullptr;
  const std::byte* slot_ = nullptr;
  int row_ = 0;
};

/// o[ch] = fma(p_j, v_j[ch], o[ch]) for R rows from first_row on, the slots [lo, hi), j ascending, and a run of
/// channels.
template <typename L, typename E, int R, int C, bool kPartial>
void add_slots(const AttendChunkArgs& args, int first_row, const ChannelRun& run, int lo, int hi, bool from_zero,
               Fetcher<L>& fetcher, int lines) {
  using V = typename L::V;
  const float* p = args.scores + static_cast<ptrdiff_t>(first_row) * kChunkTokens;
  float* o = args.o + static_cast<ptrdiff_t>(first_row) * run.v_dim + run.first_ch;
  Sums<L, R, C> sums;
  sums.set([&](int r, int c) {
    if (from_zero) return L::zero();
    const float* from = o + static_cast<ptrdiff_t>(r) * run.v_dim + c * 16;
    return kPartial && c == C - 1 ? L::load_n(from, run.n_last) : L::load(from);
  });
  Values<L, E, C, kPartial> values(run);
  Fetcher<L> fetch = fetcher;  // a copy, to be kept in registers
  for (int j = lo; j < hi;) {
    const int tile = j / kTileTokens;
    const int tile_end = smaller(hi, (tile + 1) * kTileTokens);
    values.enter(args.v_tiles[tile]);
    for (; j < tile_end; ++j) {
      fetch.step(lines);
      values.at_slot(j % kTileTokens);
      sums.add_outer([&](int r) { return p[r * kChunkTokens + j]; }, [&](auto c) { return values.channels(c); });
    }
  }
  fetcher = fetch;
  sums.get([&](int r, int c, V sum) {
    float* to = o + static_cast<ptrdiff_t>(r) * run.v_dim + c * 16;
    if (kPartial && c == C - 1)
      L::store_n(to, sum, run.n_last);
    else
      L::store(to, sum);
  });
}

/// All slots of a block's rows, for some channels.
template <typename L, typename E, int R, int C, bool kPartial>
void sum_channels(const AttendChunkArgs& args, const RowBlock& block, const ChannelRun& run, bool from_zero,
                  Fetcher<L>& fetcher, int lines) {
  // Slots that only some rows attend to, at the edges of causality and of windows, row by row: others must not touch
  // them.
  const auto some_rows = [&](int lo, int hi) {
    if (lo >= hi) return;
    for (int r = 0; r < R; ++r)
      add_slots<L, E, 1, C, kPartial>(args, block.first_row + r, run, greater(lo, block.lo[r]),
                                      smaller(hi, block.hi[r]), /*from_zero=*/false, fetcher, 0);
  };
  some_rows(block.any_lo, smaller(block.all_lo, block.any_hi));
  add_slots<L, E, R, C, kPartial>(args, block.first_row, run, block.all_lo, block.all_hi, from_zero, fetcher, lines);
  some_rows(greater(block.all_hi, block.any_lo), block.any_hi);
}

/// Channels in registers at a time, in vectors. Where 32 share a scale, whole blocks.
template <typename L, typename E, int R>
constexpr int wide_run() {
  constexpr int kFit = smaller(4, L::kAccumulators / R);
  constexpr bool kHasScales = sizeof(E) == 1;
  return kHasScales && kFit > 1 ? kFit / 2 * 2 : kFit;
}

template <typename L, typename E>
void sum_values(const AttendChunkArgs& args) {
  const int n_rows = args.n_tokens * args.n_group;
  const int n_steps = n_row_blocks(n_rows) * args.v_dim * kChunkTokens;  // slots, times the channels of a step
  Fetcher<L> fetcher(args.fetch, args.fetch.n_bytes * (100 - kFetchedInSums) / 100);
  for_row_blocks(n_rows, [&](auto n, int first_row) {
    constexpr int R = n;
    constexpr int kWide = wide_run<L, E, R>();
    const RowBlock block = row_block(args, first_row, R);
    if (block.any_lo >= block.any_hi) return;
    const bool from_zero = block.any_lo >= block.all_lo;  // else rows with earlier slots come first
    float* o = args.o + static_cast<ptrdiff_t>(first_row) * args.v_dim;
    for (ptrdiff_t at = 0; !from_zero && at < ptrdiff_t{R} * args.v_dim; ++at) o[at] = 0.0F;
    ChannelRun run{.v_dim = args.v_dim};
    for (; run.first_ch + kWide * 16 <= args.v_dim; run.first_ch += kWide * 16)
      sum_channels<L, E, R, kWide, false>(args, block, run, from_zero, fetcher,
                                          lines_per_step(args.fetch, kFetchedInSums, n_steps / (kWide * 16)));
    for (; run.first_ch + 16 <= args.v_dim; run.first_ch += 16)
      sum_channels<L, E, R, 1, false>(args, block, run, from_zero, fetcher, 0);
    run.n_last = args.v_dim - run.first_ch;
    if (run.n_last > 0) sum_channels<L, E, R, 1, true>(args, block, run, from_zero, fetcher, 0);
  });
}

/// Channels of a V tile as those of one of f32.
template <typename L, typename E, int C, bool kPartial>
void widen_run(const std::byte* tile, const ChannelRun& run, float* v_tile) {
  Values<L, E, C, kPartial> values(run);
  values.enter(tile);
  for (int slot = 0; slot < kTileTokens; ++slot) {
    values.at_slot(slot);
    float* const to = v_tile + static_cast<ptrdiff_t>(slot) * run.v_dim + run.first_ch;
    unroll<C>([&](auto c) {
      if (kPartial && c == C - 1)
        L::store_n(to + c * 16, values.channels(c), run.n_last);
      else
        L::store(to + c * 16, values.channels(c));
    });
  }
}

/// A V tile as one of f32.
template <typename L, typename E>
void widen_values(const std::byte* tile, int v_dim, float* v_tile) {
  ChannelRun run{.v_dim = v_dim};
  for (; run.first_ch + 32 <= v_dim; run.first_ch += 32) widen_run<L, E, 2, false>(tile, run, v_tile);
  if (run.first_ch + 16 <= v_dim) {
    widen_run<L, E, 1, false>(tile, run, v_tile);
    run.first_ch += 16;
  }
  run.n_last = v_dim - run.first_ch;
  if (run.n_last > 0) widen_run<L, E, 1, true>(tile, run, v_tile);
}

/// The first v_dim channels of a K tile as a V tile of f32, 16 by 16.
template <typename L, typename E>
void values_of_keys(const std::byte* k_tile, int v_dim, float* v_tile) {
  Keys<L, E> keys(k_tile);
  for (int first = 0; first < v_dim; first += 16) {
    const int n = smaller(16, v_dim - first);
    keys.enter(first / kBlockChannels);
    typename L::V x[16];
    unroll<4>([&](auto four) {
      unroll<4>([&](auto i) {
        const int ch = four * 4;
        x[four * 4 + i] = ch + i < n ? keys.channel(first % kBlockChannels + ch, i) : L::zero();
      });
    });
    L::transpose(x);
    for (int slot = 0; slot < kTileTokens; ++slot) {
      float* const to = v_tile + static_cast<ptrdiff_t>(slot) * v_dim + first;
      if (n == 16)
        L::store(to, x[slot]);
      else
        L::store_n(to, x[slot], n);
    }
  }
}

}  // namespace
}  // namespace decant::kernels
