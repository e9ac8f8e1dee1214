// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "engine/kernels/matmul/matmul.h"
#include "engine/quant/format.h"

namespace decant::test {

/// Bytes that end where an unreadable page begins, so that reading beyond them is a crash.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t size);
  GuardedBytes(GuardedBytes&& other) noexcept;
  GuardedBytes& operator=(GuardedBytes&& other) noexcept;
  ~GuardedBytes();
  std::byte* data() const { return data_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* pages_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
};

/// What fills weights and activations.
enum class Fill { random, extreme };

/// A product with all its operands at the end of guarded pages: rows [n_tiles · 16, cols] and activations
/// [n_tokens, cols] as floats and, for quantized formats, as int8.
struct Product {
  Product(const quant::Format& f, int n_tiles, int cols, int n_tokens, Fill fill, uint32_t seed);

  const quant::Format* format;
  GuardedBytes rows, tiles, x, q, d, sums;
  size_t row_bytes;
  kernels::MatmulArgs args;  ///< but for y

  /// The product in rows of `y_stride` floats, the first of them `offset` floats into a buffer; returns those rows.
  std::vector<float> run(kernels::MatmulFn fn, int offset = 0) const;
  /// Row r of the weights, widened.
  std::vector<float> row(int r) const;
};

/// Random bytes that are valid blocks: their scales are finite and of moderate size.
void fill_row(const quant::Format& f, int cols, Fill fill, std::mt19937& rng, std::byte* row);

}  // namespace decant::test
