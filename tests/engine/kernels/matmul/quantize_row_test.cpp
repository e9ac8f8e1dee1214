// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <doctest/doctest.h>

#include "engine/kernels/matmul/matmul.h"
#include "tests/engine/kernels/matmul/products.h"

namespace decant::kernels {
namespace {

using test::GuardedBytes;

struct Quantized {
  explicit Quantized(int n) : q(n), d(sizeof(float) * (n / 32)), sums(sizeof(int16_t) * (n / 16)) {}
  GuardedBytes q, d, sums;
};

TEST_CASE("quantize_row: rounds to the nearest 127th of a block's greatest magnitude, ties to even") {
  for (const Isa isa : available_isas()) {
    CAPTURE(to_string(isa));
    float x[64] = {};
    x[0] = -127.0F;
    for (int i = 1; i < 32; ++i) x[i] = static_cast<float>(i) - 0.5F;  // d = 1: ties
    int8_t q[64];
    float d[2];
    int16_t sums[4];
    REQUIRE(quantize_row_kernel(isa)(x, 64, q, d, sums));
    CHECK(d[0] == 1.0F);
    CHECK(q[0] == -127);
    int first = q[0], second = 0;
    for (int i = 1; i < 32; ++i) {
      const int even = i % 2 == 0 ? i : i - 1;
      CHECK(q[i] == even);
      (i < 16 ? first : second) += q[i];
    }
    CHECK(sums[0] == first);
    CHECK(sums[1] == second);
    CHECK(d[1] == 0.0F);
    for (int i = 32; i < 64; ++i) CHECK(q[i] == 0);
  }
}

TEST_CASE("quantize_row: every ISA gives the reference's bits for any magnitude") {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (const int n : {32, 64, 96, 2048}) {
    for (const int exponent : {-149, -127, -101, -100, -99, -20, 0, 100, 125}) {
      GuardedBytes x(sizeof(float) * n);
      for (int i = 0; i < n; ++i) x.as<float>()[i] = std::ldexp(normal(rng), exponent);
      Quantized expected(n);
      REQUIRE(quantize_row_kernel(Isa::reference)(x.as<float>(), n, expected.q.as<int8_t>(), expected.d.as<float>(),
                                                  expected.sums.as<int16_t>()));
      for (const Isa isa : available_isas()) {
        CAPTURE(to_string(isa));
        CAPTURE(exponent);
        Quantized got(n);
        REQUIRE(
            quantize_row_kernel(isa)(x.as<float>(), n, got.q.as<int8_t>(), got.d.as<float>(), got.sums.as<int16_t>()));
        CHECK(std::memcmp(got.q.data(), expected.q.data(), n) == 0);
        CHECK(std::memcmp(got.d.data(), expected.d.data(), sizeof(float) * (n / 32)) == 0);
        CHECK(std::memcmp(got.sums.data(), expected.sums.data(), sizeof(int16_t) * (n / 16)) == 0);
      }
    }
  }
}

TEST_CASE("quantize_row: a block below 2^-100 is zeros, one at it is not") {
  for (const Isa isa : available_isas()) {
    float x[64] = {};
    x[5] = std::nextafter(0x1p-100F, 0.0F);
    x[37] = -0x1p-100F;
    int8_t q[64];
    float d[2];
    int16_t sums[4];
    REQUIRE(quantize_row_kernel(isa)(x, 64, q, d, sums));
    CHECK(d[0] == 0.0F);
    CHECK(q[5] == 0);
    CHECK(d[1] == 0x1p-100F / 127.0F);
    CHECK(q[37] == -127);
    CHECK(sums[2] == -127);
  }
}

TEST_CASE("quantize_row: a NaN or an infinity anywhere is reported") {
  for (const Isa isa : available_isas()) {
    CAPTURE(to_string(isa));
    for (int i = 0; i < 64; ++i) {
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        float x[64] = {1.0F};
        x[i] = bad;
        int8_t q[64];
        float d[2];
        int16_t sums[4];
        CHECK_FALSE(quantize_row_kernel(isa)(x, 64, q, d, sums));
      }
    }
    float greatest[32];
    for (float& v : greatest) v = std::numeric_limits<float>::max();
    int8_t q[32];
    float d;
    int16_t sums[2];
    CHECK(quantize_row_kernel(isa)(greatest, 32, q, &d, sums));
    CHECK(q[31] == 127);
  }
}

}  // namespace
}  // namespace decant::kernels
