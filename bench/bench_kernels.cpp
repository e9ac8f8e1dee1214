// SPDX-License-Identifier: Apache-2.0

// Products of packed weights, one thread: a token at a time in bytes of weights a second, from memory beside the plain
// reading of memory and from the L2, which shows what the arithmetic leaves; many tokens in operations a second beside
// oneDNN.

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <dnnl.h>
#include <immintrin.h>
#include <omp.h>

#include "decant/detail/aligned_buffer.h"
#include "decant/isa.h"

#include "engine/kernels/matmul/matmul.h"
#include "engine/quant/format.h"

namespace decant {
namespace {

constexpr int kCols = 4096;
constexpr int kStride = kCols + 64;                 // rows of activations begin in different sets of the L1
constexpr size_t kStreamBytes = size_t{256} << 20;  // of weights for one token: far beyond the last cache
constexpr size_t kCachedBytes = size_t{384} << 10;  // … that stay in the L2
constexpr int kBatchRows = 2048;                    // for many tokens

/// Random weights and activations of a product.
struct Operands {
  Operands(const quant::Format& f, int rows, int n_tokens)
      : tiles(quant::tile_bytes(f, kCols) * quant::n_tiles(rows)),
        x(static_cast<size_t>(kStride) * n_tokens),
        q(x.size()),
        d(x.size() / 32),
        sums(x.size() / 16),
        y(static_cast<size_t>(rows) * n_tokens) {
    std::mt19937 rng(1);
    // Bytes that make small finite numbers in every format: a random run over and over.
    std::vector<std::byte> run(size_t{1} << 20);
    for (std::byte& b : run) b = static_cast<std::byte>(rng() & 0x3FU);
    for (size_t i = 0; i < tiles.size(); i += run.size()) {
      std::memcpy(&tiles[i], run.data(), std::min(run.size(), tiles.size() - i));
    }
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng() % 2001) / 1000.0F - 1.0F;
    const auto quantize = kernels::quantize_row_kernel(Isa::reference);
    quantize(x.data(), static_cast<int>(x.size()), q.data(), d.data(), sums.data());
    args.tiles = tiles.data();
    args.tile_bytes = quant::tile_bytes(f, kCols);
    args.n_tiles = static_cast<int>(quant::n_tiles(rows));
    args.cols = kCols;
    args.n_tokens = n_tokens;
    args.x = x.data();
    args.x_stride = kStride;
    args.q = q.data();
    args.q_stride = kStride;
    args.d = d.data();
    args.d_stride = kStride / 32;
    args.sums = sums.data();
    args.sums_stride = kStride / 16;
    args.y = y.data();
    args.y_stride = rows;
  }
  detail::AlignedBuffer<std::byte> tiles;
  detail::AlignedBuffer<float> x;
  detail::AlignedBuffer<int8_t> q;
  detail::AlignedBuffer<float> d;
  detail::AlignedBuffer<int16_t> sums;
  detail::AlignedBuffer<float> y;
  kernels::MatmulArgs args;
};

void read_memory(benchmark::State& state) {
  detail::AlignedBuffer<uint64_t> buffer(kStreamBytes / sizeof(uint64_t));
  for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = i;
  for (auto _ : state) {
    __m128i sum[8] = {};
    for (size_t i = 0; i < buffer.size(); i += 16) {
      for (size_t j = 0; j < 8; ++j) {
        sum[j] = _mm_xor_si128(sum[j], _mm_load_si128(reinterpret_cast<const __m128i*>(&buffer[i + 2 * j])));
      }
    }
    for (__m128i& s : sum) benchmark::DoNotOptimize(s);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kStreamBytes));
}

void decode(benchmark::State& state, Isa isa, DType type, size_t weight_bytes) {
  const quant::Format& f = quant::format(type);
  const int rows = std::max(static_cast<int>(weight_bytes / quant::row_bytes(f, kCols)) / 64, 1) * 64;
  const Operands operands(f, rows, 1);
  for (auto _ : state) kernels::matmul_kernel(isa, type)(operands.args);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(operands.tiles.size()));
}

void set_operations(benchmark::State& state, int n_tokens) {
  state.counters["op/s"] =
      benchmark::Counter(2.0 * kBatchRows * kCols * n_tokens, benchmark::Counter::kIsIterationInvariantRate);
}

void prefill(benchmark::State& state, Isa isa, DType type, int n_tokens) {
  const Operands operands(quant::format(type), kBatchRows, n_tokens);
  for (auto _ : state) kernels::matmul_kernel(isa, type)(operands.args);
  set_operations(state, n_tokens);
}

void prefill_onednn(benchmark::State& state, int n_tokens) {
  omp_set_num_threads(1);
  const std::vector<float> w(static_cast<size_t>(kBatchRows) * kCols, 0.5F);
  const std::vector<float> x(static_cast<size_t>(n_tokens) * kCols, 0.25F);
  std::vector<float> y(static_cast<size_t>(n_tokens) * kBatchRows);
  for (auto _ : state) {
    dnnl_sgemm('N', 'T', n_tokens, kBatchRows, kCols, 1.0F, x.data(), kCols, w.data(), kCols, 0.0F, y.data(),
               kBatchRows);
  }
  set_operations(state, n_tokens);
}

void register_all() {
  benchmark::RegisterBenchmark("read_memory", read_memory);
  for (const Isa isa : available_isas()) {
    if (isa == Isa::reference) continue;
    for (int i = 0; i < kDTypeCount; ++i) {
      const auto type = static_cast<DType>(i);
      const std::string suffix = std::string("/") + to_string(type) + "/" + to_string(isa);
      benchmark::RegisterBenchmark(("decode" + suffix).c_str(), decode, isa, type, kStreamBytes);
      benchmark::RegisterBenchmark(("decode_cached" + suffix).c_str(), decode, isa, type, kCachedBytes);
      for (const int n_tokens : {2, 4, 8, 16, 128}) {
        benchmark::RegisterBenchmark(("prefill" + suffix + "/" + std::to_string(n_tokens)).c_str(), prefill, isa, type,
                                     n_tokens)
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  for (const int n_tokens : {16, 128}) {
    benchmark::RegisterBenchmark(("prefill/F32/oneDNN/" + std::to_string(n_tokens)).c_str(), prefill_onednn, n_tokens)
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  decant::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
