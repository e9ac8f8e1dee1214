// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/isa.h"

#include "cache/kernels/vmath_constants.h"
#include "tests/cache/kernels/vmath_spellings.h"

namespace decant::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint64_t kPatterns = uint64_t{1} << 32;

const VmathSpelling& spelling(Isa isa) {
  switch (isa) {
    case Isa::avx2:
    case Isa::avxvnni:
      return kVmathAvx2;
    case Isa::avx512:
    case Isa::avx512vnni:
      return kVmathAvx512;
    case Isa::reference:
      break;
  }
  return kVmathReferenceFma;
}

/// Every stride-th bit pattern, and those around every place where a definition changes, in runs of a multiple of 16.
std::vector<float> arguments(uint64_t stride) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < kPatterns; bits += stride)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  using namespace kernels::vmath;
  for (const float edge : {0.0F, std::numeric_limits<float>::min(), kTanhSmall, -kExpLow, kExpHigh, -kExpLow / 2,
                           kExpHigh / 2, std::numeric_limits<float>::max(), kInf})
    for (uint32_t step = 0; step < 64; ++step) {
      const uint32_t bits = std::bit_cast<uint32_t>(edge) + step - 32;
      for (const uint32_t sign : {0U, 0x80000000U}) x.push_back(std::bit_cast<float>((bits & 0x7FFFFFFFU) | sign));
    }
  while (x.size() % 16 != 0) x.push_back(1.0F);
  return x;
}

using Function = void (*VmathSpelling::*)(const float* x, int n, float* y);

std::vector<float> apply(const VmathSpelling& s, Function f, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  (s.*f)(x.data(), static_cast<int>(x.size()), y.data());
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("vmath: exp and tanh have the same bits in every spelling, over all of the float patterns") {
  const std::vector<float> x = arguments(997);
  for (const Function f : {&VmathSpelling::exp, &VmathSpelling::tanh}) {
    const std::vector<float> expected = apply(kVmathReferenceFma, f, x);
    for (const Isa isa : available_isas()) {
      CAPTURE(std::string(to_string(isa)));
      CHECK(same_bits(apply(spelling(isa), f, x), expected));
    }
  }
}

TEST_CASE("vmath: exp for what is not positive has the bits of exp") {
  std::vector<float> x = arguments(997);
  for (float& value : x)
    value = value > 0.0F ? -value : value + 0.0F;  // a sum, as all arguments of that function are: no signalling NaN
  const std::vector<float> expected = apply(kVmathReferenceFma, &VmathSpelling::exp, x);
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(to_string(isa)));
    CHECK(same_bits(apply(spelling(isa), &VmathSpelling::exp_to_one, x), expected));
  }
}

TEST_CASE("vmath: a CPU without FMA gets the same bits") {
  const std::vector<float> x = arguments(99991);
  for (const Function f : {&VmathSpelling::exp, &VmathSpelling::tanh})
    CHECK(same_bits(apply(kVmathReference, f, x), apply(kVmathReferenceFma, f, x)));
}

/// Greatest error against binary64 libm, in units of the true value's last place, over arguments within [low, high].
double worst_ulps(Function f, double (*exact)(double), float low, float high) {
  std::vector<float> x;
  for (const float value : arguments(997))
    if (value >= low && value <= high) x.push_back(value);
  const std::vector<float> y = apply(kVmathReference, f, x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double truth = exact(static_cast<double>(x[i]));
    const float magnitude = std::max(std::fabs(static_cast<float>(truth)), std::numeric_limits<float>::min());
    const double unit = static_cast<double>(std::nextafter(magnitude, kInf)) - static_cast<double>(magnitude);
    worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - truth) / unit);
  }
  return worst;
}

// Bounds: exp rounds r, the tail and the last sum, ½ ulp of the result each at most, the first only where r is
// greatest; tanh divides what exp left and subtracts it from 1, which is never more than 2 ulp of a result above 0.55.
TEST_CASE("vmath: exp stays within 1 ulp and tanh within 2") {
  CHECK(worst_ulps(&VmathSpelling::exp, std::exp, kernels::vmath::kExpLow, kernels::vmath::kExpHigh) <= 1.0);
  CHECK(worst_ulps(&VmathSpelling::tanh, std::tanh, -100.0F, 100.0F) <= 2.0);
}

TEST_CASE("vmath: edges are what the definition says") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto exp_of = [](float x) { return apply(kVmathReference, &VmathSpelling::exp, {x})[0]; };
  const auto tanh_of = [](float x) { return apply(kVmathReference, &VmathSpelling::tanh, {x})[0]; };
  CHECK(exp_of(0.0F) == 1.0F);
  CHECK(exp_of(-0.0F) == 1.0F);
  CHECK(exp_of(-87.3F) > 0.0F);
  CHECK(exp_of(std::nextafter(-87.3F, -kInf)) == 0.0F);
  CHECK(!std::signbit(exp_of(-kInf)));
  CHECK(exp_of(-kInf) == 0.0F);
  CHECK(exp_of(88.72283F) < kInf);
  CHECK(exp_of(88.72284F) == kInf);
  CHECK(exp_of(kInf) == kInf);
  CHECK(std::isnan(exp_of(nan)));
  CHECK(tanh_of(0.0F) == 0.0F);
  CHECK(std::signbit(tanh_of(-0.0F)));
  CHECK(tanh_of(kInf) == 1.0F);
  CHECK(tanh_of(-kInf) == -1.0F);
  CHECK(tanh_of(1e-30F) == 1e-30F);
  CHECK(std::isnan(tanh_of(nan)));
}

}  // namespace
}  // namespace decant::test
