// SPDX-License-Identifier: Apache-2.0
#pragma once

// 16 lanes of binary32 in two registers: the same interface as lanes_avx512.h. Internal linkage throughout, so that no
// copy compiled for this ISA can be the one that the linker keeps for another.

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "cache/kernels/elements.h"

namespace decant::kernels {
namespace {

struct LanesAvx2 {
  struct V {
    __m256 low, high;  ///< lanes 0 … 7 and 8 … 15
  };
  using Mask = V;  ///< all bits of a lane, or none

  using Nibbles = __m128i;  ///< 16 bytes, two channels or slots in each

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
  static V load(const Bf16* p) { return {widen_bf16(p), widen_bf16(p + 8)}; }
  /// Signed bytes.
  static V load(const int8_t* p) {
    return {widen_bytes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
            widen_bytes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  /// 16 bytes, to be read by low() and high().
  static Nibbles load_nibbles(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  /// n ≤ 8 bytes, to be read by low(): the low halves in lanes 0 … 7, the high ones in lanes 8 … 15.
  static Nibbles load_nibbles_8(const std::byte* p, int n) {
    uint64_t bytes = 0;
    __builtin_memcpy(&bytes, p, static_cast<size_t>(n));
    const __m128i both = _mm_cvtsi64_si128(static_cast<long long>(bytes));
    return _mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4));
  }
  /// The low or high halves of 16 bytes, less 8.
  static V low(Nibbles x) { return widen_nibbles(x); }
  static V high(Nibbles x) { return widen_nibbles(_mm_srli_epi16(x, 4)); }
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
  static V min(V a, V b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
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

  /// x[i] lane j ↔ x[j] lane i.
  static void transpose(V (&x)[16]) {
    __m256 quarter[4][8];  // lanes 0 … 7 of rows 0 … 7 and of rows 8 … 15, then the other lanes
    for (int i = 0; i < 8; ++i) {
      quarter[0][i] = x[i].low;
      quarter[1][i] = x[8 + i].low;
      quarter[2][i] = x[i].high;
      quarter[3][i] = x[8 + i].high;
    }
    for (auto& q : quarter) transpose_8(q);
    for (int i = 0; i < 8; ++i) {
      x[i] = {quarter[0][i], quarter[1][i]};
      x[8 + i] = {quarter[2][i], quarter[3][i]};
    }
  }

  /// Into L2: a chunk's K and V and the next chunk's don't fit into L1 together, and lines on their way to L2 don't
  /// wait for L1's few miss buffers. Attention from memory: 16.3 GB/s with this hint, 9 with T0 or none (one Zen 4 core
  /// that reads 24).
  [[gnu::always_inline]] static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

 private:
  static __m256 widen_bf16(const Bf16* p) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  }
  static __m256 widen_bytes(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }
  static V widen_nibbles(__m128i x) {
    const __m128i levels = _mm_sub_epi8(_mm_and_si128(x, _mm_set1_epi8(15)), _mm_set1_epi8(8));
    return {widen_bytes(levels), widen_bytes(_mm_srli_si128(levels, 8))};
  }
  static void transpose_8(__m256 (&x)[8]) {
    __m256 pairs[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    __m256 fours[8];  // four rows of lanes 0 and 4, 1 and 5, 2 and 6, 3 and 7; then of the other four rows
    for (int i = 0; i < 8; i += 4) {
      fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      x[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
      x[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
    }
  }
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
