// SPDX-License-Identifier: Apache-2.0
#pragma once

// 16 lanes of binary32 in two registers: the same interface as lanes_avx512.h. Internal linkage throughout, so that no
// copy compiled for this ISA can be the one that the linker keeps for another.

#include <cstdint>

#include <immintrin.h>

namespace decant::kernels {
namespace {

struct LanesAvx2 {
  struct V {
    __m256 low, high;  ///< lanes 0 … 7 and 8 … 15
  };
  using Mask = V;  ///< all bits of a lane, or none

  static constexpr int kAccumulators = 6;  ///< values of V that sums may keep in registers beside their operands

  static V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static V set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  /// base, base + 1, … as floats; exact below 2^24.
  static V count_from(int base) {
    const __m256i low = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(base));
    return {_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(_mm256_add_epi32(low, _mm256_set1_epi32(8)))};
  }

  static V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  /// binary16, widened.
  static V load(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  /// The first n lanes, 0 in the others; touches nothing beyond. The slow way: rows end on a multiple of 16 mostly.
  template <typename T>
  static V load_n(const T* p, int n) {
    T lanes[16] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static void store(float* p, V x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
  }
  static void store_n(float* p, V x, int n) {
    float lanes[16];
    store(lanes, x);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  /// As binary16, to nearest, ties to even.
  static void store_half(uint16_t* p, V x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.low, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.high, kNearest));
  }

  static V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static V div(V a, V b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static V fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static V max(V a, V b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static V abs(V a) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
  }
  static V negate(V a) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_xor_ps(sign, a.low), _mm256_xor_ps(sign, a.high)};
  }
  /// a with the sign bit of s or'ed in.
  static V or_sign(V a, V s) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_or_ps(a.low, _mm256_and_ps(s.low, sign)), _mm256_or_ps(a.high, _mm256_and_ps(s.high, sign))};
  }
  /// a with the integer in the low bits of `rounded` (see vmath::kRound) added to its exponent.
  static V add_exponent(V a, V rounded) {
    return {add_exponent(a.low, rounded.low), add_exponent(a.high, rounded.high)};
  }

  static Mask less(V a, V b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
  }
  static Mask is_nan(V a) {
    return {_mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q), _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q)};
  }
  static Mask is_finite(V a) { return less(abs(a), set1(__builtin_inff())); }
  /// Lanes [lo, hi), both within 0 … 16.
  static Mask range(int lo, int hi) {
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {range(low, lo, hi), range(_mm256_add_epi32(low, _mm256_set1_epi32(8)), lo, hi)};
  }
  static bool all(Mask m) { return (_mm256_movemask_ps(m.low) & _mm256_movemask_ps(m.high)) == 0xFF; }
  static Mask both(Mask a, Mask b) { return {_mm256_and_ps(a.low, b.low), _mm256_and_ps(a.high, b.high)}; }
  static V select(Mask m, V yes, V no) {
    return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
  }

  static float greatest(V a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  /// s[i] += s[i + 8], then 4, 2, 1.
  static float tree_sum(V a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  /// Into L2: a chunk's K and V and the next chunk's don't fit into L1 together, and lines on their way to L2 don't
  /// wait for L1's few miss buffers. Attention from memory: 16.3 GB/s with this hint, 9 with T0 or none (one Zen 4 core
  /// that reads 24).
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

 private:
  static __m256 add_exponent(__m256 a, __m256 rounded) {
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), n));
  }
  static __m256 range(__m256i lane, int lo, int hi) {
    const __m256i from_lo = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(lo - 1));
    return _mm256_castsi256_ps(_mm256_and_si256(from_lo, _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), lane)));
  }
};

}  // namespace
}  // namespace decant::kernels
