// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/gemm_onednn.h"

#include <new>

#include <dnnl.h>
#include <omp.h>

#include "decant/detail/aligned_buffer.h"

#include "engine/quant/format.h"

namespace decant::kernels {

namespace {

constexpr int kMinTokens = 32;

}  // namespace

bool suits_onednn(const MatmulArgs& args, DType type) noexcept {
  return args.n_tokens >= kMinTokens && !quant::format(type).quantized;
}

bool gemm_onednn(const MatmulArgs& args, DType type) noexcept {
  try {
    // Rows of the tiles as plain floats, then y[t, n] = Σ_k x[t, k] · w[n, k].
    const quant::Format& format = quant::format(type);
    const int n = args.n_tiles * quant::kTileRows;
    detail::AlignedBuffer<float> w(static_cast<size_t>(n) * static_cast<size_t>(args.cols));
    for (int row = 0; row < n; ++row)
      format.decode_tile_row(args.tiles + static_cast<size_t>(row / quant::kTileRows) * args.tile_bytes,
                             row % quant::kTileRows, args.cols, w.data() + static_cast<ptrdiff_t>(row) * args.cols);
    omp_set_num_threads(1);
    return dnnl_sgemm('N', 'T', args.n_tokens, n, args.cols, 1.0F, args.x, args.x_stride, w.data(), args.cols, 0.0F,
                      args.y, args.y_stride) == dnnl_success;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace decant::kernels
