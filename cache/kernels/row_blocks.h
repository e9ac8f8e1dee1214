// SPDX-License-Identifier: Apache-2.0
#pragma once

// What scores and sums of values have in common: rows (query heads of the group, and tokens) go in blocks of up to
// kMaxRows, so that an element of K or V that was loaded and widened serves all of them. Internal linkage: see
// lanes_avx2.h.

#include <cstdint>
#include <utility>

#include "cache/kernels/attention_kernels.h"

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
  int token = first_row / args.n_group;
  for (int r = 0, head = first_row % args.n_group; r < n_rows; ++r, ++head) {
    if (head == args.n_group) head = 0, ++token;
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

/// Fetches a list a few lines at a time, between other work.
template <typename L>
class Fetcher {
 public:
  /// What is left of the list after its first `skip` bytes.
  Fetcher(const FetchList& list, ptrdiff_t skip) : run_(list.runs), last_run_(list.runs + list.n_runs) {
    for (; run_ != last_run_ && skip >= run_->end - run_->begin; ++run_) skip -= run_->end - run_->begin;
    enter(skip);
  }
  [[gnu::always_inline]] void step(int n_lines) {
    for (; n_lines > 0 && at_ != nullptr; --n_lines) {
      L::prefetch(at_);
      at_ += kLineBytes;
      if (at_ < end_) continue;
      ++run_;
      enter(0);
    }
  }

 private:
  void enter(ptrdiff_t skip) {
    at_ = run_ == last_run_ ? nullptr : run_->begin + skip;
    end_ = run_ == last_run_ ? nullptr : run_->end;
  }

  const FetchList::Run* run_;
  const FetchList::Run* last_run_;
  const std::byte* at_;
  const std::byte* end_;
};

// How much of a list is fetched beside dot products, weights and sums of values, in parts of a hundred: as their times.
constexpr int kFetchedInDots = 40, kFetchedInWeights = 15, kFetchedInSums = 45;
/// Lines a step to fetch `percent` of a list in n_steps.
inline int lines_per_step(const FetchList& list, int percent, int n_steps) {
  const auto n_lines = static_cast<uint32_t>(list.n_bytes * percent / (100 * kLineBytes));
  return list.n_bytes == 0 ? 0 : static_cast<int>(n_lines / static_cast<uint32_t>(greater(n_steps, 1)) + 1);
}

/// f(Index<R>{}, first_row) for each block of R rows; the blocks have about the same size.
constexpr int n_row_blocks(int n_rows) { return (n_rows + kMaxRows - 1) / kMaxRows; }
template <typename F>
void for_row_blocks(int n_rows, F f) {
  for (int row = 0, blocks_left = n_row_blocks(n_rows); row < n_rows; --blocks_left) {
    const int n = (n_rows - row + blocks_left - 1) / blocks_left;
    switch (n) {
      case 1:
        f(Index<1>{}, row);
        break;
      case 2:
        f(Index<2>{}, row);
        break;
      case 3:
        f(Index<3>{}, row);
        break;
      case 4:
        f(Index<4>{}, row);
        break;
      case 5:
        f(Index<5>{}, row);
        break;
      default:
        f(Index<6>{}, row);
        break;
    }
    row += n;
  }
}

}  // namespace
}  // namespace decant::kernels
