// SPDX-License-Identifier: Apache-2.0

// Compiled twice: as `reference` for any x86-64, and as `reference_fma` with -mfma. Builtins in place of std::
// functions: an inline function from a header, compiled here with FMA, could become the copy that the linker keeps for
// every CPU.

#include <cstdint>

#ifndef DECANT_REFERENCE
#define DECANT_REFERENCE reference
#endif

namespace decant::kernels::DECANT_REFERENCE {

double exp64(double x) noexcept;
double log64(double x) noexcept;
double sin64(double x) noexcept;
double cos64(double x) noexcept;

namespace {

constexpr double kRound = 0x1.8p52;  // adding it rounds a double below 2^51 to an integer, which stands in the low bits
constexpr double kInf = __builtin_inf();
constexpr double kLn2High = 0x1.62e42fefa39efp-1, kLn2Low = 0x1.abc9e3b39803fp-56;

double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
uint64_t bits_of(double x) { return __builtin_bit_cast(uint64_t, x); }
double from_bits(uint64_t bits) { return __builtin_bit_cast(double, bits); }

/// 2^n, −1022 ≤ n ≤ 1023.
double power_of_two(int64_t n) { return from_bits(static_cast<uint64_t>(n + 1023) << 52); }

/// c[0] + c[1]·z + …, by Horner with fma.
template <int N>
double polynomial(const double (&c)[N], double z) {
  double sum = c[N - 1];
  for (int i = N - 2; i >= 0; --i) sum = fma(sum, z, c[i]);
  return sum;
}

constexpr double factorial(int n) { return n <= 1 ? 1.0 : n * factorial(n - 1); }

// Taylor terms of (e^r − 1 − r) / r², enough for |r| ≤ ln2 / 2: the first one left out is below 2^-57 of the result.
constexpr double kExpTerms[] = {1 / factorial(2),  1 / factorial(3),  1 / factorial(4),  1 / factorial(5),
                                1 / factorial(6),  1 / factorial(7),  1 / factorial(8),  1 / factorial(9),
                                1 / factorial(10), 1 / factorial(11), 1 / factorial(12), 1 / factorial(13)};
// log(1 + f) = 2·atanh(s), s = f / (2 + f): terms of z = s² after the first, |z| ≤ 0.0295.
constexpr double kLogTerms[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                                2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
// (sin r − r) / r³ and (cos r − 1 + r²/2) / r⁴ in z = r², |r| ≤ π/4 and a little.
constexpr double kSinTerms[] = {-1 / factorial(3),  1 / factorial(5),  -1 / factorial(7),  1 / factorial(9),
                                -1 / factorial(11), 1 / factorial(13), -1 / factorial(15), 1 / factorial(17)};
constexpr double kCosTerms[] = {1 / factorial(4),  -1 / factorial(6),  1 / factorial(8),  -1 / factorial(10),
                                1 / factorial(12), -1 / factorial(14), 1 / factorial(16), -1 / factorial(18)};

/// An angle as quadrant · π/2 + high + low, |high| at most π/4 and a little.
struct Reduced {
  uint64_t quadrant;
  double high, low;
};

/// Cody-Waite in three parts. The first subtraction is exact (a multiple of 2^-52, or of x's last place, below 1), the
/// second keeps its rounding error, so an angle close to a multiple of π/2 loses nothing.
Reduced reduce(double x) {
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  constexpr double kHalfPi1 = 0x1.921fb54442d18p+0, kHalfPi2 = 0x1.1a62633145c07p-54,
                   kHalfPi3 = -0x1.f1976b7ed8fbcp-110;
  const double rounded = fma(x, kTwoOverPi, kRound);
  const double k = rounded - kRound;
  const double a = fma(-k, kHalfPi1, x);
  const double w = k * kHalfPi2;
  const double w_error = fma(k, kHalfPi2, -w);
  const double high = a - w;
  const double from_w = a - high;  // two-sum of a and −w: what high has lost
  const double lost = (a - (high + from_w)) + (from_w - w);
  const double low = fma(-k, kHalfPi3, lost - w_error);
  const double sum = high + low;
  return {bits_of(rounded), sum, (high - sum) + low};
}

double sin_reduced(double r, double low) {
  const double z = r * r;
  const double tail = fma(low, fma(-0.5, z, 1.0), z * r * polynomial(kSinTerms, z));
  return r + tail;
}

double cos_reduced(double r, double low) {
  const double z = r * r;
  const double half = 0.5 * z;
  const double one = 1.0 - half;
  const double tail = fma(z * z, polynomial(kCosTerms, z), -(r * low));
  return one + (((1.0 - one) - half) + tail);
}

double sin_quadrant(const Reduced& a, uint64_t quadrant) {
  const double value = (quadrant & 1) != 0 ? cos_reduced(a.high, a.low) : sin_reduced(a.high, a.low);
  return (quadrant & 2) != 0 ? -value : value;
}

constexpr double kMaxAngle = 0x1p31;

}  // namespace

double exp64(double x) noexcept {
  if (!(x >= -745.2)) return x != x ? x : 0.0;
  if (x > 709.79) return kInf;
  const double rounded = fma(x, 0x1.71547652b82fep+0, kRound);
  const double n = rounded - kRound;
  double r = fma(n, -kLn2High, x);
  r = fma(n, -kLn2Low, r);
  const double value = 1.0 + fma(r * r, polynomial(kExpTerms, r), r);
  // In two steps: 2^n alone may be subnormal or infinite. The first product is always normal, so only the second
  // rounds.
  const int64_t exponent = static_cast<int64_t>(n);
  const int64_t first = exponent / 2;
  return value * power_of_two(first) * power_of_two(exponent - first);
}

double log64(double x) noexcept {
  if (!(x > 0)) return x == 0 ? -kInf : (x != x ? x : kInf - kInf);
  if (x == kInf) return x;
  int64_t exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    exponent = -54;
  }
  // x = 2^exponent · m with √½ ≤ m < √2: bits above those of √½ carry into the exponent.
  constexpr uint64_t kSqrtHalf = 0x3FE6A09E667F3BCDU;
  const uint64_t above = bits_of(x) - kSqrtHalf;
  const int64_t carry = static_cast<int64_t>(above) >> 52;
  const double f = from_bits(bits_of(x) - (static_cast<uint64_t>(carry) << 52)) - 1.0;
  const double n = static_cast<double>(exponent + carry);
  // log(1 + f) = f − (f²/2 − s·(f²/2 + z·P(z))): keeps f, which is exact, apart.
  const double s = f / (2.0 + f);
  const double z = s * s;
  const double half = 0.5 * f * f;
  const double tail = fma(s, half + z * polynomial(kLogTerms, z), n * kLn2Low);
  return fma(n, kLn2High, f - (half - tail));
}

double sin64(double x) noexcept {
  if (!(x >= -kMaxAngle && x <= kMaxAngle)) return kInf - kInf;
  if (x == 0) return x;
  const Reduced a = reduce(x);
  return sin_quadrant(a, a.quadrant);
}

double cos64(double x) noexcept {
  if (!(x >= -kMaxAngle && x <= kMaxAngle)) return kInf - kInf;
  const Reduced a = reduce(x);
  return sin_quadrant(a, a.quadrant + 1);
}

}  // namespace decant::kernels::DECANT_REFERENCE
