// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/quant/format.h"

namespace decant::quant {

/// How the values of a random matrix are spread.
struct Spread {
  double mean = 0.0;  ///< floats only; quantized formats have 0
  double deviation = 1.0;
};

/// Rows of random weights in any format, made as bytes: nothing is quantized, so that formats without an encoder work
/// too, at some GB/s. Every scale is finite and every code is one that an encoder could have written. A row depends on
/// the key and its number alone. Safe to call from many threads.
class RandomRows {
 public:
  /// cols: a multiple of the format's block_values.
  RandomRows(DType type, int64_t cols, Spread spread, uint64_t key);

  size_t row_bytes() const noexcept { return row_bytes_; }
  /// out: [row_bytes()], overwritten.
  void fill(int64_t row, std::span<std::byte> out) const;

 private:
  void fill_floats(uint64_t key, std::span<std::byte> out) const;
  void fill_blocks(uint64_t key, std::span<std::byte> out) const;

  const Format& format_;
  size_t row_bytes_;
  Spread spread_;
  uint64_t key_;
  std::array<uint16_t, 16> scales_ = {};  ///< binary16, of which each block takes one
  std::array<uint16_t, 16> mins_ = {};    ///< those that go with them
};

}  // namespace decant::quant
