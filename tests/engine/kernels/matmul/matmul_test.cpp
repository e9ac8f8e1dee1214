// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul.h"

#include <cmath>
#include <cstring>

#include <doctest/doctest.h>

#include "tests/engine/kernels/matmul/products.h"
#include "tests/support/fixtures.h"

namespace decant::kernels {
namespace {

using test::Fill;
using test::Product;

constexpr double kHalfUlp = 0x1p-24;  // relative error of one rounding to binary32

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<int> columns_of(const quant::Format& f) {
  if (!f.quantized) return {1, 2, 3, 17, 64, 100, 515, 2048};
  if (f.block_values == 32) return {32, 64, 96, 160, 1056, 2048};
  return {256, 512, 1280};
}

void check_against_reference(Isa isa, const Product& p) {
  const int offset = p.args.n_tiles % 4 + p.args.n_tokens % 3;
  const DType type = p.format->type;
  CAPTURE(to_string(isa));
  CAPTURE(p.format->name);
  CAPTURE(p.args.n_tiles);
  CAPTURE(p.args.cols);
  CAPTURE(p.args.n_tokens);
  CHECK(same_bits(p.run(matmul_kernel(isa, type), offset), p.run(matmul_kernel(Isa::reference, type))));
}

TEST_CASE("matmul: many tokens of long rows, which pass the tiles in several runs, have the reference's bits") {
  for (const Isa isa : available_isas()) {
    for (const DType type : {DType::q4_0, DType::q6_k, DType::bf16}) {
      check_against_reference(isa, Product(quant::format(type), 3, 8192, 40, Fill::random, 7));
    }
  }
}

TEST_CASE("matmul: every ISA gives the reference's bits, whatever the columns, tokens, tiles and alignment of y") {
  uint32_t seed = 1;
  for (const Isa isa : available_isas()) {
    for (int i = 0; i < kDTypeCount; ++i) {
      const quant::Format& f = quant::format(static_cast<DType>(i));
      for (const int cols : columns_of(f)) {
        check_against_reference(isa, Product(f, 3, cols, 1, Fill::random, ++seed));
        check_against_reference(isa, Product(f, 2, cols, 5, Fill::extreme, ++seed));
      }
      const int cols = f.quantized ? f.block_values * 2 : 37;
      for (int n_tokens = 1; n_tokens <= 17; ++n_tokens) {
        const Fill fill = n_tokens % 2 == 0 ? Fill::random : Fill::extreme;
        check_against_reference(isa, Product(f, 3, cols, n_tokens, fill, ++seed));
      }
      check_against_reference(isa, Product(f, 3, cols, 70, Fill::random, ++seed));  // groups of tokens
      check_against_reference(isa, Product(f, 5, cols, 33, Fill::extreme, ++seed));
      for (int n_tiles = 1; n_tiles <= 9; ++n_tiles) {
        check_against_reference(isa, Product(f, n_tiles, cols, 1, Fill::extreme, ++seed));
      }
    }
  }
}

TEST_CASE("matmul: a token's outputs don't depend on its neighbours") {
  for (const Isa isa : available_isas()) {
    for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_0, DType::q6_k}) {
      const Product p(quant::format(type), 2, 512, 21, Fill::random, 7);
      const std::vector<float> together = p.run(matmul_kernel(isa, type));
      const size_t n_rows = 32;
      for (int t = 0; t < 21; ++t) {
        MatmulArgs a = p.args;
        std::vector<float> alone(n_rows);
        a.n_tokens = 1;
        a.x += t * a.x_stride;
        a.q = a.q == nullptr ? nullptr : a.q + t * a.q_stride;
        a.d = a.d == nullptr ? nullptr : a.d + t * a.d_stride;
        a.sums = a.sums == nullptr ? nullptr : a.sums + t * a.sums_stride;
        a.y = alone.data();
        a.y_stride = static_cast<ptrdiff_t>(n_rows);
        matmul_kernel(isa, type)(a);
        CHECK(std::memcmp(alone.data(), together.data() + t * n_rows, n_rows * sizeof(float)) == 0);
      }
    }
  }
}

// n fma in binary32 one after the other: |error| ≤ n·u·Σ|w·x| to first order, u = 2^-24. The factor covers the second:
// (1 + u)^n − 1 ≤ 1.001·n·u for n ≤ 2^13.
TEST_CASE("matmul: the float reference is within n roundings of the product in binary64") {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    for (const int cols : {1, 17, 2048}) {
      const Product p(quant::format(type), 2, cols, 3, Fill::random, 11);
      const std::vector<float> y = p.run(matmul_kernel(Isa::reference, type));
      for (int r = 0; r < 32; ++r) {
        const std::vector<float> w = p.row(r);
        for (int t = 0; t < 3; ++t) {
          double sum = 0.0, magnitude = 0.0;
          for (int k = 0; k < cols; ++k) {
            const double product = static_cast<double>(w[k]) * static_cast<double>(p.args.x[t * cols + k]);
            sum += product;
            magnitude += std::fabs(product);
          }
          CHECK(std::fabs(static_cast<double>(y[t * 32 + r]) - sum) <= 1.001 * cols * kHalfUlp * magnitude);
        }
      }
    }
  }
}

// A block's t has at most 4 roundings, each relative to a partial sum that its terms' magnitudes bound; then comes one
// fma a block: |error| ≤ (n_blocks + 4)·u·Σ(magnitudes), the factor as above. The scales and mins of a block are exact
// in binary32 (11 bits times at most 8), the integers too.
TEST_CASE("matmul: the quantized reference is within its roundings of the same sum in binary64") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const quant::Format& f = quant::format(static_cast<DType>(i));
    if (!f.quantized) continue;
    CAPTURE(f.name);
    const int cols = 1024;
    const Product p(f, 1, cols, 3, Fill::random, 13);
    const std::vector<float> y = p.run(matmul_kernel(Isa::reference, f.type));
    for (int r = 0; r < 16; ++r) {
      for (int t = 0; t < 3; ++t) {
        double sum = 0.0, magnitude = 0.0;
        for (int b = 0; b < cols / 32; ++b) {
          quant::SubBlock sub;
          const std::byte* const row = p.rows.data() + r * p.row_bytes;
          const int subs = f.block_values / 32;
          f.unpack(row + static_cast<ptrdiff_t>(b / subs) * f.block_bytes, b % subs, &sub);
          const auto d = static_cast<double>(p.args.d[t * p.args.d_stride + b]);
          for (int half = 0; half < 2; ++half) {
            int dot = 0, total = 0;
            for (int k = 16 * half; k < 16 * half + 16; ++k) {
              const int q = p.args.q[t * p.args.q_stride + 32 * b + k];
              dot += sub.w[k] * q;
              total += q;
            }
            const double product = d * static_cast<double>(sub.scale[half]) * dot;
            const double min = d * static_cast<double>(sub.min[half]) * total;
            sum += product - min;
            magnitude += std::fabs(product) + std::fabs(min);
          }
        }
        CHECK(std::fabs(static_cast<double>(y[t * 16 + r]) - sum) <= 1.001 * (cols / 32 + 4) * kHalfUlp * magnitude);
      }
    }
  }
}

// The dots of the fixtures are exact. A product of the widened row errs by n roundings. One with int8 activations
// replaces x by d·q, |x − d·q| ≤ d/2 · (1 + 2^-14): half a step, and the roundings of d, id and x·id, each 2^-24 of at
// most 127 steps. Its float sequence adds (n_blocks + 4)·u of the magnitudes, where |I·ds| ≤ Σ|w|·127·d and so on: with
// mins, whose term cancels part of the products, magnitudes are those of both before the difference.
TEST_CASE("matmul: products with the fixtures' rows are as far from the exact dot as rounding explains") {
  const auto arrays = test::read_arrays(test::fixture("quants/quant_rows.safetensors"));
  const std::vector<float> x = arrays.at("x").f32();
  const int n = static_cast<int>(x.size());
  std::vector<int8_t> q(n);
  std::vector<float> d(n / 32);
  std::vector<int16_t> sums(n / 16);
  REQUIRE(quantize_row_kernel(Isa::reference)(x.data(), n, q.data(), d.data(), sums.data()));
  for (const auto& entry : test::read_json(test::fixture("quants/quant_rows.json"))) {
    const quant::Format* const f = quant::format_of_ggml(entry["ggml_type_id"].get<uint32_t>());
    if (f == nullptr) continue;
    const std::string key = entry["key"];
    CAPTURE(key);
    const test::Array& raw = arrays.at(key + ".raw");
    const std::vector<float> values = arrays.at(key + ".values").f32();
    const std::vector<double> dots = arrays.at(key + ".dot").f64();
    const quant::Format& wide = quant::format(DType::f32);
    const std::byte *packed_rows[16] = {}, *wide_rows[16] = {};
    for (size_t r = 0; r < dots.size(); ++r) {
      packed_rows[r] = reinterpret_cast<const std::byte*>(raw.bytes.data()) + r * quant::row_bytes(*f, n);
      wide_rows[r] = reinterpret_cast<const std::byte*>(values.data()) + r * quant::row_bytes(wide, n);
    }
    std::vector<std::byte> packed(quant::tile_bytes(*f, n)), widened(quant::tile_bytes(wide, n));
    f->pack_tile(packed_rows, n, packed.data());
    wide.pack_tile(wide_rows, n, widened.data());

    float y[16], y_wide[16];
    MatmulArgs a;
    a.tiles = widened.data();
    a.tile_bytes = widened.size();
    a.n_tiles = 1;
    a.cols = n;
    a.n_tokens = 1;
    a.x = x.data();
    a.q = q.data();
    a.d = d.data();
    a.sums = sums.data();
    a.y = y_wide;
    matmul_kernel(Isa::reference, DType::f32)(a);
    a.tiles = packed.data();
    a.tile_bytes = packed.size();
    a.y = y;
    matmul_kernel(available_isas().back(), f->type)(a);

    for (size_t r = 0; r < dots.size(); ++r) {
      double magnitude = 0.0, rounded_x = 0.0, parts = 0.0;
      quant::SubBlock sub;
      for (int k = 0; k < n; ++k) {
        const double w = std::fabs(static_cast<double>(values[r * n + k]));
        const auto step = static_cast<double>(d[k / 32]);
        magnitude += w * std::fabs(static_cast<double>(x[k]));
        rounded_x += w * step / 2.0 * (1.0 + 0x1p-14);
        if (!f->quantized) continue;
        if (k % 32 == 0)
          f->unpack(packed_rows[r] + k / f->block_values * f->block_bytes, k % f->block_values / 32, &sub);
        const double w_int = std::fabs(static_cast<double>(sub.scale[k % 32 / 16]) * sub.w[k % 32]);
        parts += (w_int + std::fabs(static_cast<double>(sub.min[k % 32 / 16]))) * 127.0 * step;
      }
      // The fixtures' own values may be an ulp away from ours: they are not (format_test), so nothing is added.
      CHECK(std::fabs(static_cast<double>(y_wide[r]) - dots[r]) <= 1.001 * n * kHalfUlp * magnitude);
      const double bound =
          f->quantized ? rounded_x + 1.001 * (n / 32 + 4) * kHalfUlp * parts : 1.001 * n * kHalfUlp * magnitude;
      CHECK(std::fabs(static_cast<double>(y[r]) - dots[r]) <= bound + kHalfUlp * magnitude);
    }
  }
}

}  // namespace
}  // namespace decant::kernels
