// SPDX-License-Identifier: Apache-2.0
#pragma once

// 16 lanes of binary32 in one register. Internal linkage throughout, so that no copy compiled for this ISA can be the
// one that the linker keeps for another.

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "cache/kernels/elements.h"

namespace decant::kernels {
namespace {

struct LanesAvx512 {
  using V = __m512;
  using Mask = __mmask16;

  using Nibbles = __m512i;  ///< 16 bytes, one a lane, two channels or slots in each; what is above them doesn't count

  static constexpr int kAccumulators = 24;  ///< values of V that sums may keep in registers beside their operands

  static V zero() { return _mm512_setzero_ps(); }
  static V set1(float x) { return _mm512_set1_ps(x); }
  /// base, base + 1, … as floats; exact below 2^24.
  static V count_from(int base) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(lane, _mm512_set1_epi32(base)));
  }

  static V load(const float* p) { return _mm512_loadu_ps(p); }
  /// binary16, widened.
  static V load(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static V load(const Bf16* p) { return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  /// Signed bytes.
  static V load(const int8_t* p) { return widen_bytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  /// 16 bytes, to be read by low() and high().
  static Nibbles load_nibbles(const std::byte* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  /// n ≤ 8 bytes, to be read by low(): the low halves in lanes 0 … 7, the high ones in lanes 8 … 15.
  static Nibbles load_nibbles_8(const std::byte* p, int n) {
    const __m128i both = _mm_maskz_loadu_epi8(range(0, n), p);
    return _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4)));
  }
  /// The low or high halves of 16 bytes, less 8: looked up, as a permutation reads four bits of a lane.
  static V low(Nibbles x) {
    return _mm512_permutexvar_ps(x, _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7));
  }
  static V high(Nibbles x) { return low(_mm512_srli_epi32(x, 4)); }
  /// The first n lanes, 0 in the others; touches nothing beyond.
  static V load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(range(0, n), p); }
  static V load_n(const uint16_t* p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(range(0, n), p)); }
  static V load_n(const Bf16* p, int n) { return widen_bf16(_mm256_maskz_loadu_epi16(range(0, n), p)); }
  static V load_n(const int8_t* p, int n) { return widen_bytes(_mm_maskz_loadu_epi8(range(0, n), p)); }
  static void store(float* p, V x) { _mm512_storeu_ps(p, x); }
  static void store_n(float* p, V x, int n) { _mm512_mask_storeu_ps(p, range(0, n), x); }
  /// As binary16, to nearest, ties to even.
  static void store_half(uint16_t* p, V x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, kNearest));
  }

  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V min(V a, V b) { return _mm512_min_ps(a, b); }
  static V abs(V a) { return _mm512_abs_ps(a); }
  static V negate(V a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0F)); }
  /// a with the sign bit of s or'ed in.
  static V or_sign(V a, V s) { return _mm512_or_ps(a, _mm512_and_ps(s, _mm512_set1_ps(-0.0F))); }
  /// a with the integer in the low bits of `rounded` (see vmath::kRound) added to its exponent.
  static V add_exponent(V a, V rounded) {
    const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(rounded), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), n));
  }

  static Mask less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask is_nan(V a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
  static Mask is_finite(V a) { return less(abs(a), set1(__builtin_inff())); }
  /// Lanes [lo, hi), both within 0 … 16.
  static Mask range(int lo, int hi) { return static_cast<Mask>((0xFFFFU >> (16 - hi)) & (0xFFFFU << lo)); }
  static bool all(Mask m) { return m == 0xFFFFU; }
  static Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static V select(Mask m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }

  static float greatest(V a) { return _mm512_reduce_max_ps(a); }
  /// s[i] += s[i + 8], then 4, 2, 1.
  static float tree_sum(V a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  /// x[i] lane j ↔ x[j] lane i.
  static void transpose(V (&x)[16]) {
    V pairs[16];
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    V fours[16];  // [4r + c]: rows 4r … 4r + 3 of the lanes c, 4 + c, 8 + c, 12 + c
    for (int i = 0; i < 16; i += 4) {
      fours[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      fours[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      fours[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      fours[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    for (int c = 0; c < 4; ++c) {
      const V a = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0x88);       // lanes c, 8 + c of rows 0 … 7
      const V b = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0x88);  // … of rows 8 … 15
      const V d = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0xDD);       // lanes 4 + c, 12 + c
      const V e = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0xDD);
      x[c] = _mm512_shuffle_f32x4(a, b, 0x88);
      x[8 + c] = _mm512_shuffle_f32x4(a, b, 0xDD);
      x[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88);
      x[12 + c] = _mm512_shuffle_f32x4(d, e, 0xDD);
    }
  }

  /// Into L2: a chunk's K and V and the next chunk's don't fit into L1 together, and lines on their way to L2 don't
  /// wait for L1's few miss buffers. Attention from memory: 16.3 GB/s with this hint, 9 with T0 or none (one Zen 4 core
  /// that reads 24).
  [[gnu::always_inline]] static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

 private:
  static V widen_bf16(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
  static V widen_bytes(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
};

}  // namespace
}  // namespace decant::kernels
