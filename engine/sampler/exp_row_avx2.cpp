// SPDX-License-Identifier: Apache-2.0
// The operations of kernels::exp64 in their order; see there for why they are enough. Arguments are ≤ 0.
#include <immintrin.h>

#include "engine/sampler/exp_row.h"

namespace decant::sampler {
namespace {

constexpr double kRound = 0x1.8p52;
constexpr double kLog2E = 0x1.71547652b82fep+0, kLn2High = 0x1.62e42fefa39efp-1, kLn2Low = 0x1.abc9e3b39803fp-56;
constexpr double kSmallest = -745.2;

constexpr double factorial(int n) { return n <= 1 ? 1.0 : n * factorial(n - 1); }

// 2^n for −1022 ≤ n ≤ 0, and for any other n some value.
inline __m256d power_of_two(__m256i n) {
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(n, _mm256_set1_epi64x(1023)), 52));
}

template <int N>
inline __m256d exp_terms(__m256d sum, __m256d r) {
  if constexpr (N < 2) {
    return sum;
  } else {
    return exp_terms<N - 1>(_mm256_fmadd_pd(sum, r, _mm256_set1_pd(1 / factorial(N))), r);
  }
}

inline __m256d exp_lanes(__m256d x) {
  const __m256d round = _mm256_set1_pd(kRound);
  const __m256d rounded = _mm256_fmadd_pd(x, _mm256_set1_pd(kLog2E), round);
  const __m256d n = _mm256_sub_pd(rounded, round);
  __m256d r = _mm256_fmadd_pd(n, _mm256_set1_pd(-kLn2High), x);
  r = _mm256_fmadd_pd(n, _mm256_set1_pd(-kLn2Low), r);
  const __m256d terms = exp_terms<12>(_mm256_set1_pd(1 / factorial(13)), r);
  const __m256d value = _mm256_add_pd(_mm256_set1_pd(1.0), _mm256_fmadd_pd(_mm256_mul_pd(r, r), terms, r));
  // AVX2 has no arithmetic shift of 64 bits: halve −n, which isn't negative.
  const __m256i minus_n = _mm256_sub_epi64(_mm256_castpd_si256(round), _mm256_castpd_si256(rounded));
  const __m256i minus_first = _mm256_srli_epi64(minus_n, 1);
  const __m256i zero = _mm256_setzero_si256();
  const __m256d first = power_of_two(_mm256_sub_epi64(zero, minus_first));
  const __m256d second = power_of_two(_mm256_sub_epi64(minus_first, minus_n));
  const __m256d scaled = _mm256_mul_pd(_mm256_mul_pd(value, first), second);
  return _mm256_and_pd(_mm256_cmp_pd(x, _mm256_set1_pd(kSmallest), _CMP_GE_OQ), scaled);
}

}  // namespace

void exp_row_avx2(const double* x, double max, int n, double* out) {
  const __m256d shift = _mm256_set1_pd(max);
  int i = 0;
  for (; i + 4 <= n; i += 4) _mm256_storeu_pd(out + i, exp_lanes(_mm256_sub_pd(_mm256_loadu_pd(x + i), shift)));
  if (i < n) {
    double lanes[4] = {max, max, max, max};
    for (int lane = 0; i + lane < n; ++lane) lanes[lane] = x[i + lane];
    _mm256_storeu_pd(lanes, exp_lanes(_mm256_sub_pd(_mm256_loadu_pd(lanes), shift)));
    for (int lane = 0; i + lane < n; ++lane) out[i + lane] = lanes[lane];
  }
}

}  // namespace decant::sampler
