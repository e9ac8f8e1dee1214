// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/gemm_onednn.h"

#include <cstring>
#include <dnnl.hpp>
#include <new>

#include <omp.h>

#include "engine/quant/format.h"

namespace decant::kernels {

namespace {

constexpr int kMinTokens = 32;

using dnnl::memory;

/// Tiles [cols][16 rows] of elements of that many bytes side by side: [cols][n_tiles · 16].
template <size_t kElementBytes>
void lay_side_by_side(const MatmulArgs& args, std::byte* to) {
  constexpr size_t kChunk = kElementBytes * quant::kTileRows;
  const size_t n_tiles = static_cast<size_t>(args.n_tiles), cols = static_cast<size_t>(args.cols);
  for (size_t k = 0; k < cols; ++k)
    for (size_t tile = 0; tile < n_tiles; ++tile, to += kChunk)
      std::memcpy(to, args.tiles + tile * args.tile_bytes + k * kChunk, kChunk);
}

size_t narrow_bytes(int n_tokens, int cols) { return static_cast<size_t>(n_tokens) * cols * 2; }

/// A matrix [rows, cols] whose rows are `stride` elements apart.
memory::desc matrix(memory::dim rows, memory::dim cols, memory::data_type type, memory::dim stride) {
  return {{rows, cols}, type, memory::dims{stride, 1}};
}

void multiply(const MatmulArgs& args, DType type, std::byte* scratch) {
  const memory::data_type element = type == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::dim n = memory::dim{args.n_tiles} * quant::kTileRows;

  const memory::desc x_desc = matrix(args.n_tokens, args.cols, memory::data_type::f32, args.x_stride);
  memory x(x_desc, engine, const_cast<float*>(args.x));
  if (element == memory::data_type::bf16) {
    memory rounded(matrix(args.n_tokens, args.cols, element, args.cols), engine, scratch);
    dnnl::reorder(x, rounded).execute(stream, x, rounded);
    x = rounded;
    scratch += narrow_bytes(args.n_tokens, args.cols);
    lay_side_by_side<2>(args, scratch);
  } else {
    lay_side_by_side<4>(args, scratch);
  }
  const memory weights(matrix(args.cols, n, element, n), engine, scratch);
  const memory y(matrix(args.n_tokens, n, memory::data_type::f32, args.y_stride), engine, args.y);
  const dnnl::matmul::desc desc(x.get_desc(), weights.get_desc(), y.get_desc());
  dnnl::matmul({desc, engine}).execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, y}});
  stream.wait();
}

}  // namespace

bool suits_onednn(int n_tokens, DType type) noexcept {
  if (n_tokens < kMinTokens) return false;
  // Without the instruction, oneDNN's products of bfloat16 are slower than our exact ones.
  return type == DType::f32 || (type == DType::bf16 && __builtin_cpu_supports("avx512bf16"));
}

size_t onednn_scratch_bytes(int n_tokens, int n_tiles, int cols) noexcept {
  const size_t bytes = narrow_bytes(n_tokens, cols) + size_t{4} * quant::kTileRows * n_tiles * cols;
  return (bytes + 63) / 64 * 64;
}

bool gemm_onednn(const MatmulArgs& args, DType type, std::byte* scratch) noexcept {
  try {
    omp_set_num_threads(1);
    multiply(args, type, scratch);
    return true;
  } catch (const dnnl::error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace decant::kernels
