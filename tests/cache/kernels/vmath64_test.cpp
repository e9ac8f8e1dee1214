// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/vmath64.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <doctest/doctest.h>

namespace decant::kernels {

// The two builds of the definition, by name.
namespace reference {
double exp64(double x) noexcept;
double log64(double x) noexcept;
double sin64(double x) noexcept;
double cos64(double x) noexcept;
}  // namespace reference

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// |value − exact| in units of exact's last place.
double ulps(double value, long double exact) {
  const double rounded = static_cast<double>(exact);
  if (value == rounded) return static_cast<double>(std::fabs(static_cast<long double>(value) - exact)) == 0 ? 0 : 0.5;
  const double magnitude = std::fabs(rounded);
  const double unit = std::nextafter(magnitude, kInf) - magnitude;
  return static_cast<double>(std::fabs(static_cast<long double>(value) - exact) / static_cast<long double>(unit));
}

template <typename Own, typename Exact>
double worst_ulps(Own own, Exact exact, double low, double high, int n) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(low, high);
  double worst = 0;
  for (int i = 0; i < n; ++i) {
    const double x = uniform(random);
    worst = std::max(worst, ulps(own(x), exact(static_cast<long double>(x))));
  }
  return worst;
}

// Each result is one rounded sum of a leading term and a tail, whose own error is a small part of an ulp: 0.5 and some.
constexpr double kBound = 1.0;

TEST_CASE("vmath64: exp stays within one ulp of the long double library") {
  const auto exact = [](long double x) { return std::exp(x); };
  CHECK(worst_ulps(exp64, exact, -1.0, 1.0, 200000) < kBound);
  CHECK(worst_ulps(exp64, exact, -708.0, 709.78, 200000) < kBound);
  CHECK(worst_ulps(exp64, exact, -745.0, -708.0, 20000) < kBound);
}

TEST_CASE("vmath64: log stays within one ulp of the long double library") {
  const auto exact = [](long double x) { return std::log(x); };
  CHECK(worst_ulps(log64, exact, 0.5, 2.0, 200000) < kBound);
  CHECK(worst_ulps(log64, exact, 0.999, 1.001, 200000) < kBound);
  CHECK(worst_ulps(log64, exact, 1.0, 1e6, 200000) < kBound);
  CHECK(worst_ulps(log64, exact, 1e-300, 1e300, 200000) < kBound);
  CHECK(worst_ulps(log64, exact, 5e-324, 1e-308, 20000) < kBound);
}

TEST_CASE("vmath64: sine and cosine stay within one ulp up to 2^24 radians and beyond") {
  const auto sine = [](long double x) { return std::sin(x); };
  const auto cosine = [](long double x) { return std::cos(x); };
  for (const double range : {0.8, 10.0, 1000.0, 0x1p24, 0x1p31}) {
    CAPTURE(range);
    CHECK(worst_ulps(sin64, sine, -range, range, 200000) < kBound);
    CHECK(worst_ulps(cos64, cosine, -range, range, 200000) < kBound);
  }
  double worst = 0;
  for (int k = 1; k < 200000; ++k) {  // next to multiples of π/2 and at whole numbers, where reduction cancels most
    const double near = static_cast<double>(static_cast<long double>(k) * 1.57079632679489661923132169163975L);
    for (const double x : {near, static_cast<double>(k)}) {
      worst = std::max(worst, ulps(sin64(x), sine(static_cast<long double>(x))));
      worst = std::max(worst, ulps(cos64(x), cosine(static_cast<long double>(x))));
    }
  }
  CHECK(worst < kBound);
}

TEST_CASE("vmath64: edges are what the header says") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(exp64(0.0) == 1.0);
  CHECK(exp64(-0.0) == 1.0);
  CHECK(exp64(-746.0) == 0.0);
  CHECK(exp64(-kInf) == 0.0);
  CHECK(exp64(709.8) == kInf);
  CHECK(exp64(kInf) == kInf);
  CHECK(std::isnan(exp64(nan)));
  CHECK(log64(1.0) == 0.0);
  CHECK(log64(0.0) == -kInf);
  CHECK(log64(-0.0) == -kInf);
  CHECK(log64(kInf) == kInf);
  CHECK(std::isnan(log64(-1.0)));
  CHECK(std::isnan(log64(nan)));
  CHECK(sin64(0.0) == 0.0);
  CHECK(std::signbit(sin64(-0.0)));
  CHECK(cos64(0.0) == 1.0);
  for (const double x : {nan, kInf, -kInf, 0x1p32}) {
    CHECK(std::isnan(sin64(x)));
    CHECK(std::isnan(cos64(x)));
  }
}

TEST_CASE("vmath64: a CPU without FMA gets the same bits") {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> uniform(-1000.0, 1000.0);
  bool same = true;
  for (int i = 0; i < 50000; ++i) {
    const double x = uniform(random);
    same = same && exp64(x) == reference::exp64(x) && sin64(x) == reference::sin64(x) &&
           cos64(x) == reference::cos64(x) && log64(std::fabs(x)) == reference::log64(std::fabs(x));
  }
  CHECK(same);
}

}  // namespace
}  // namespace decant::kernels
