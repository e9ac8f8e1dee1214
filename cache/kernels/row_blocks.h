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
  Prefetcher(const std::byte* from, ptrdiff_t bytes, int n_steps)
      : at_(from), bytes_left_(from == nullptr ? 0 : bytes), step_bytes_(bytes / greater(n_steps, 1)) {}
  void step() {
    for (ptrdiff_t done = 0; done < step_bytes_ && bytes_left_ > 0; done += kLineBytes) {
      L::prefetch(at_);
      at_ += kLineBytes;
      bytes_left_ -= kLineBytes;
    }
  }

 private:
  const std::byte* at_ = nullptr;
  ptrdiff_t bytes_left_ = 0;
  ptrdiff_t step_bytes_ = 0;
};

/// f(Index<R>{}, first_row) for each block of R rows; the blocks have about the same size.
template <typename F>
void for_row_blocks(int n_rows, F f) {
  int n_blocks = (n_rows + kMaxRows - 1) / kMaxRows;
  for (int row = 0; row < n_rows; --n_blocks) {
    const int n = (n_rows - row + n_blocks - 1) / n_blocks;
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
