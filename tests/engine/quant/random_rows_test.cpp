// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/random_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

namespace decant::quant {
namespace {

constexpr int kCols = 2048, kRows = 64;

std::vector<std::byte> row_of(const RandomRows& rows, int64_t row) {
  std::vector<std::byte> bytes(rows.row_bytes());
  rows.fill(row, bytes);
  return bytes;
}

TEST_CASE("random_rows: every format's values have the mean and the deviation that were asked for, and are finite") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    CAPTURE(format(type).name);
    for (const double deviation : {1.0 / std::sqrt(576.0), 1.0 / std::sqrt(8192.0)}) {
      const RandomRows rows(type, kCols, {.mean = 0.0, .deviation = deviation}, 7);
      std::vector<float> values(kCols);
      double sum = 0.0, squares = 0.0;
      for (int r = 0; r < kRows; ++r) {
        format(type).decode_row(row_of(rows, r).data(), kCols, values.data());
        for (const float value : values) {
          sum += static_cast<double>(value);
          squares += static_cast<double>(value) * static_cast<double>(value);
        }
      }
      CHECK(std::isfinite(squares));
      constexpr double kValues = double{kCols} * kRows;
      // 131,072 draws: the deviation is known to some 0.5 %, blocks' scales add to that and are binary16.
      CHECK(std::sqrt(squares / kValues) == doctest::Approx(deviation).epsilon(0.05));
      CHECK(std::abs(sum / kValues) < 0.05 * deviation);
    }
  }
}

TEST_CASE("random_rows: a row is decided by key and number, and differs from every other") {
  for (const DType type : {DType::f32, DType::bf16, DType::q4_0, DType::q6_k}) {
    const RandomRows rows(type, 512, {}, 1), same(type, 512, {}, 1), other(type, 512, {}, 2);
    CHECK(row_of(rows, 5) == row_of(same, 5));
    CHECK(row_of(rows, 5) != row_of(rows, 6));
    CHECK(row_of(rows, 5) != row_of(other, 5));
  }
}

TEST_CASE("random_rows: floats may have another mean") {
  const RandomRows rows(DType::f32, kCols, {.mean = 1.0, .deviation = 0.05}, 3);
  std::vector<float> values(kCols);
  rows.fill(0, std::as_writable_bytes(std::span(values)));
  float farthest = 0.0F;
  for (const float value : values) farthest = std::max(farthest, std::abs(value - 1.0F));
  CHECK(farthest <= 0.05F * std::sqrt(3.0F) + 1e-6F);
}

TEST_CASE("random_rows: Q8_0 has no code that its encoder would not write") {
  const RandomRows rows(DType::q8_0, kCols, {}, 4);
  for (int r = 0; r < kRows; ++r) {
    const std::vector<std::byte> bytes = row_of(rows, r);
    int n_refused = 0;
    for (size_t at = 0; at < bytes.size(); ++at)
      if (at % 34 >= 2 && bytes[at] == std::byte{0x80}) ++n_refused;
    CHECK(n_refused == 0);
  }
}

}  // namespace
}  // namespace decant::quant
