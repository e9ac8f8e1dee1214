// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "cache/kernels/rope.h"
#include "engine/kernels/dispatch.h"
#include "tests/cache/kernels/guarded_buffer.h"

namespace decant::kernels {
namespace {

using Buffer = test::GuardedBuffer<float>;

std::vector<float> random_floats(int n, uint32_t seed, float deviation = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(random);
  return x;
}

struct Case {
  const char* name;
  /// Reads n elements of each input and writes n of y.
  std::function<void(const KernelTable&, const float* a, const float* b, const float* c, int n, float* y)> run;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"rms_norm", [](const KernelTable& t, const float* a, const float* b, const float*, int n,
                      float* y) { t.rms_norm(a, b, n, 1e-5F, y); }},
      {"layer_norm", [](const KernelTable& t, const float* a, const float* b, const float* c, int n,
                        float* y) { t.layer_norm(a, b, c, n, 1e-5F, y); }},
      {"layer_norm without bias", [](const KernelTable& t, const float* a, const float* b, const float*, int n,
                                     float* y) { t.layer_norm(a, b, nullptr, n, 1e-5F, y); }},
      {"add",
       [](const KernelTable& t, const float* a, const float* b, const float*, int n, float* y) {
         for (int i = 0; i < n; ++i) y[i] = a[i];
         t.add(y, b, n);
       }},
      {"silu_mul", [](const KernelTable& t, const float* a, const float* b, const float*, int n,
                      float* y) { t.silu_mul(a, b, n, y); }},
      {"gelu_tanh",
       [](const KernelTable& t, const float* a, const float*, const float*, int n, float* y) { t.gelu_tanh(a, n, y); }},
      {"rope",
       [](const KernelTable& t, const float* a, const float* b, const float* c, int n, float* y) {
         for (int i = 0; i < n; ++i) y[i] = a[i];
         t.rope(y, b, c, n / 2);
       }},
  };
  return all;
}

TEST_CASE("elementwise: every ISA gives the reference's bits at every length and misalignment, within its bounds") {
  std::vector<int> lengths = {128, 255, 576, 1000, 2048, 4099};
  for (int n = 1; n <= 100; ++n) lengths.push_back(n);
  for (const Case& c : cases())
    for (const int n : lengths) {
      // Buffers end at a page that traps; their starts are as odd as n is.
      const Buffer a(random_floats(n, 1, 3.0F)), b(random_floats(n, 2)), w(random_floats(n, 3));
      Buffer expected(static_cast<size_t>(n));
      c.run(table(Isa::reference), a.data(), b.data(), w.data(), n, expected.data());
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(c.name));
        CAPTURE(std::string(to_string(isa)));
        CAPTURE(n);
        Buffer y(static_cast<size_t>(n));
        c.run(table(isa), a.data(), b.data(), w.data(), n, y.data());
        CHECK(y.same_bits(expected));
        // The output may be the first input.
        Buffer in_place(random_floats(n, 1, 3.0F));
        c.run(table(isa), in_place.data(), b.data(), w.data(), n, in_place.data());
        CHECK(in_place.same_bits(expected));
      }
    }
}

TEST_CASE("elementwise: a NaN or an infinity is found wherever it is") {
  for (const Isa isa : available_isas())
    for (const int n : {1, 2, 15, 16, 17, 31, 32, 33, 100}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(n);
      Buffer x(random_floats(n, 4));
      x.data()[0] = std::numeric_limits<float>::max();
      CHECK(table(isa).all_finite(x.data(), n));
      for (int i = 0; i < n; ++i) {
        const float kept = x.data()[i];
        for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN()}) {
          x.data()[i] = bad;
          CHECK(!table(isa).all_finite(x.data(), n));
        }
        x.data()[i] = kept;
      }
    }
  CHECK(table(Isa::reference).all_finite(nullptr, 0));
}

constexpr double kHalfEps = 0x1p-24;  // of binary32: the relative error of one rounding

// Each bound counts the roundings on the way to an output, first order: n / 16 + 4 additions and as many
// multiplications in a reduction of non-negative terms, halved by the root.
TEST_CASE("elementwise: the reference's norms are those of binary64 within the roundings that were made") {
  constexpr int kN = 1000;
  constexpr double kReduction = kN / 16 + 5;
  const std::vector<float> x = random_floats(kN, 5, 4.0F), w = random_floats(kN, 6), b = random_floats(kN, 7);
  std::vector<float> y(kN);
  double squares = 0, sum = 0, absolute = 0;
  for (const float v : x) {
    squares += static_cast<double>(v) * v;
    sum += v;
    absolute += std::fabs(v);
  }

  table(Isa::reference).rms_norm(x.data(), w.data(), kN, 1e-5F, y.data());
  const double root = std::sqrt(squares / kN + 1e-5);
  for (int i = 0; i < kN; ++i) {
    const double exact = x[i] / root * w[i];
    CHECK(std::fabs(y[i] - exact) <= (kReduction / 2 + 6) * kHalfEps * std::fabs(exact));
  }

  table(Isa::reference).layer_norm(x.data(), w.data(), b.data(), kN, 1e-5F, y.data());
  const double mean = sum / kN;
  double variance = 0;
  for (const float v : x) variance += (v - mean) * (v - mean);
  const double deviation = std::sqrt(variance / kN + 1e-5);
  const double mean_error = kReduction * kHalfEps * absolute / kN;
  for (int i = 0; i < kN; ++i) {
    const double z = (x[i] - mean) / deviation;
    const double exact = z * w[i] + b[i];
    // An error of the mean moves every element; it changes the variance only in second order.
    const double bound = std::fabs(w[i]) * ((kReduction / 2 + 8) * kHalfEps * std::fabs(z) + mean_error / deviation) +
                         kHalfEps * std::fabs(exact);
    CHECK(std::fabs(y[i] - exact) <= bound);
  }
}

TEST_CASE("elementwise: the reference's gates are those of binary64 within a few ulp") {
  constexpr int kN = 20000;
  const std::vector<float> x = random_floats(kN, 8, 6.0F), u = random_floats(kN, 9);
  std::vector<float> y(kN);
  table(Isa::reference).silu_mul(x.data(), u.data(), kN, y.data());
  for (int i = 0; i < kN; ++i) {
    const double exact = x[i] / (1.0 + std::exp(-static_cast<double>(x[i]))) * u[i];
    CHECK(std::fabs(y[i] - exact) <= 6 * kHalfEps * std::fabs(exact));  // exp (2 half ulp), sum, quotient, product
  }
  table(Isa::reference).gelu_tanh(x.data(), kN, y.data());
  for (int i = 0; i < kN; ++i) {
    const double v = x[i];
    const double exact = 0.5 * v * (1.0 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
    // Where 1 + tanh cancels, what is left is as good as tanh: 4 half ulp of 1, and those of its argument.
    CHECK(std::fabs(y[i] - exact) <= 0.5 * std::fabs(v) * 8 * kHalfEps + 2 * kHalfEps * std::fabs(exact));
  }
}

TEST_CASE("rope: angles are those of binary64, rounded once, and frequencies fall from 1") {
  std::vector<double> inv_freq(32);
  rope_frequencies(10000.0, 64, inv_freq.data());
  CHECK(inv_freq[0] == 1.0);
  for (int i = 0; i < 32; ++i)
    CHECK(inv_freq[static_cast<size_t>(i)] == doctest::Approx(std::pow(10000.0, -2.0 * i / 64)).epsilon(1e-14));
  std::vector<float> cosines(32), sines(32);
  for (const int64_t pos : {int64_t{0}, int64_t{1}, int64_t{48}, int64_t{4095}, int64_t{131071}}) {
    rope_angles(inv_freq.data(), 32, pos, cosines.data(), sines.data());
    for (size_t i = 0; i < 32; ++i) {
      const double angle = static_cast<double>(pos) * inv_freq[i];
      CHECK(std::fabs(cosines[i] - std::cos(angle)) <= 0x1p-25 + 1e-15);
      CHECK(std::fabs(sines[i] - std::sin(angle)) <= 0x1p-25 + 1e-15);
    }
  }
}

TEST_CASE("dispatch: every table is complete and named after its ISA") {
  for (const Isa isa : {Isa::reference, Isa::avx2, Isa::avxvnni, Isa::avx512, Isa::avx512vnni}) {
    const KernelTable& t = table(isa);
    CHECK(std::string(t.name) == to_string(isa));
    for (const MatmulFn product : t.matmul) CHECK((product != nullptr));
    CHECK((t.quantize_row != nullptr));
    CHECK((t.rms_norm != nullptr));
    CHECK((t.layer_norm != nullptr));
    CHECK((t.add != nullptr));
    CHECK((t.silu_mul != nullptr));
    CHECK((t.gelu_tanh != nullptr));
    CHECK((t.rope != nullptr));
    CHECK((t.all_finite != nullptr));
    CHECK(&table(isa) == &t);
  }
}

}  // namespace
}  // namespace decant::kernels
