// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/hadamard.h"

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace decant::kernels {
namespace {

TEST_CASE("hadamard: a block is the largest power of two that divides the dimension, 1024 at most") {
  constexpr int kCases[][2] = {{1, 1},     {7, 1},    {16, 16},  {24, 8},      {80, 16},     {96, 32},
                               {128, 128}, {192, 64}, {576, 64}, {1024, 1024}, {4096, 1024}, {1536, 512}};
  for (const auto& c : kCases) {
    CAPTURE(c[0]);
    CHECK(hadamard_block(c[0]) == c[1]);
  }
}

TEST_CASE("hadamard: a unit vector becomes the column of signs over the square root of the order") {
  for (int block = 1; block <= 1024; block *= 2) {
    CAPTURE(block);
    bool same = true;
    for (int j = 0; j < block; j += 1 + block / 16) {
      std::vector<float> x(static_cast<size_t>(block), 0.0F);
      x[static_cast<size_t>(j)] = 1.0F;
      hadamard(x.data(), block, block);
      for (int i = 0; i < block; ++i) {
        const bool is_odd = std::popcount(static_cast<unsigned>(i & j)) % 2 != 0;
        const float magnitude = static_cast<float>(std::sqrt(1.0 / block));
        same = same && x[static_cast<size_t>(i)] == (is_odd ? -magnitude : magnitude);
      }
    }
    CHECK(same);
  }
}

TEST_CASE("hadamard: twice is the identity, up to rounding") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int block = 1; block <= 1024; block *= 2) {
    CAPTURE(block);
    std::vector<float> x(static_cast<size_t>(3 * block));
    for (float& value : x) value = normal(random);
    std::vector<float> twice = x;
    hadamard(twice.data(), 3 * block, block);
    hadamard(twice.data(), 3 * block, block);
    // In Euclidean norm a stage of butterflies errs by u = 2^-24 of its result at most, and all stages stretch alike;
    // the factor and its product err by u each. So a pass errs by (stages + 2) · u, two by twice that.
    const int stages = std::countr_zero(static_cast<unsigned>(block));
    for (int b = 0; b < 3; ++b) {
      double norm = 0, error = 0;
      for (int i = b * block; i < (b + 1) * block; ++i) {
        const double at = x[static_cast<size_t>(i)], difference = twice[static_cast<size_t>(i)] - at;
        norm += at * at;
        error += difference * difference;
      }
      CHECK(std::sqrt(error) <= 2 * (stages + 2) * 0x1p-24 * std::sqrt(norm) * 1.001);  // and second-order terms
    }
  }
}

}  // namespace
}  // namespace decant::kernels
