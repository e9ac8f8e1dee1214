// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <dnnl.h>
#include <doctest/doctest.h>
#include <omp.h>

#include "tests/engine/kernels/matmul/products.h"

namespace decant::kernels {
namespace {

// Both sides add n products in some order with at most n roundings each, so each is within n·u·Σ|w·x| of the exact sum,
// u = 2^-24, and they are within twice that of each other. 1.001 covers the second order.
TEST_CASE("matmul: F32 products agree with oneDNN's") {
  omp_set_num_threads(1);
  for (const int cols : {1, 17, 100, 1024, 2048}) {
    for (const int n_tokens : {1, 3, 16, 33}) {
      CAPTURE(cols);
      CAPTURE(n_tokens);
      const test::Product p(quant::format(DType::f32), 3, cols, n_tokens, test::Fill::random, 17);
      const int n_rows = 48;
      std::vector<float> expected(static_cast<size_t>(n_tokens) * n_rows);
      REQUIRE(dnnl_sgemm('N', 'T', n_tokens, n_rows, cols, 1.0F, p.args.x, cols, p.rows.as<float>(), cols, 0.0F,
                         expected.data(), n_rows) == dnnl_success);
      const std::vector<float> y = p.run(matmul_kernel(available_isas().back(), DType::f32));
      for (int t = 0; t < n_tokens; ++t) {
        for (int r = 0; r < n_rows; ++r) {
          const std::vector<float> w = p.row(r);
          double magnitude = 0.0;
          for (int k = 0; k < cols; ++k) {
            magnitude += std::fabs(static_cast<double>(w[k]) * static_cast<double>(p.args.x[t * cols + k]));
          }
          const size_t i = static_cast<size_t>(t) * n_rows + r;
          CHECK(std::fabs(static_cast<double>(y[i]) - static_cast<double>(expected[i])) <=
                2.002 * cols * 0x1p-24 * magnitude);
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant::kernels
