// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "decant/detail/aligned_buffer.h"

#include "engine/kernels/kernels.h"

namespace decant {

/// Rows of activations that products read: as floats and, where a quantized weight reads them, as int8 with a scale for
/// each 32. Rows start on a cache line.
class Activations {
 public:
  Activations() = default;
  /// cols: used elements of a row. quantized: whether the int8 form is kept too; cols is a multiple of 32 then.
  Activations(int max_rows, int cols, bool quantized)
      : cols_(cols),
        stride_(((cols + 63) / 64 | 1) * 64),  // an odd number of cache lines: rows begin in different sets of a cache
        quantized_(quantized),
        x_(static_cast<size_t>(max_rows) * stride_),
        q_(quantized ? static_cast<size_t>(max_rows) * stride_ : 0),
        d_(quantized ? static_cast<size_t>(max_rows) * (stride_ / 32) : 0),
        sums_(quantized ? static_cast<size_t>(max_rows) * (stride_ / 16) : 0) {}

  int cols() const { return cols_; }
  size_t size_bytes() const { return x_.size_bytes() + q_.size_bytes() + d_.size_bytes() + sums_.size_bytes(); }
  bool quantized() const { return quantized_; }
  ptrdiff_t stride() const { return stride_; }
  float* row(int r) { return x_.data() + static_cast<size_t>(r) * stride_; }
  const float* row(int r) const { return x_.data() + static_cast<size_t>(r) * stride_; }

  /// Brings columns [first, first + n) of row r into the int8 form, if that is kept. False for a non-finite value.
  bool quantize(const kernels::KernelTable& kernels, int r, int first, int n) {
    if (!quantized_) return true;
    const size_t at = static_cast<size_t>(r) * stride_ + static_cast<size_t>(first);
    return kernels.quantize_row(x_.data() + at, n, q_.data() + at, d_.data() + at / 32, sums_.data() + at / 16);
  }

  /// The operands of a product over rows [0, n_rows).
  kernels::MatmulArgs operands(int n_rows) const {
    kernels::MatmulArgs args;
    args.cols = cols_;
    args.n_tokens = n_rows;
    args.x = x_.data();
    args.x_stride = stride_;
    args.q = q_.data();
    args.q_stride = stride_;
    args.d = d_.data();
    args.d_stride = stride_ / 32;
    args.sums = sums_.data();
    args.sums_stride = stride_ / 16;
    return args;
  }

 private:
  int cols_ = 0;
  int stride_ = 0;
  bool quantized_ = false;
  detail::AlignedBuffer<float> x_;
  detail::AlignedBuffer<int8_t> q_;
  detail::AlignedBuffer<float> d_;
  detail::AlignedBuffer<int16_t> sums_;
};

}  // namespace decant
