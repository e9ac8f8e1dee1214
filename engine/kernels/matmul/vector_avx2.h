// SPDX-License-Identifier: Apache-2.0
#pragma once

// A register of 8 lanes, for files compiled for AVX2, FMA and F16C. All of it has internal linkage.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

namespace decant::kernels {
namespace {

struct Vector256 {
  using F = __m256;
  using I = __m256i;
  static constexpr int kLanes = 8, kParts = 2;
  static constexpr int kDecodeTiles = 2;     ///< tiles at once in a float product of one token
  static constexpr int kFloatTiles = 1;      ///< … and of more
  static constexpr int kFloatTokens = 6;     ///< 2 · 6 sums of 16 registers
  static constexpr int kQuantizedTiles = 1;  ///< tiles at once in an int8 product of more than one token

  static F zero() { return _mm256_setzero_ps(); }
  static I zero_i() { return _mm256_setzero_si256(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F negate(F a) { return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_castps_si256(a), set32(INT32_MIN))); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static F load_f32(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
  static F load_f16(const std::byte* p) { return _mm256_cvtph_ps(load128(p)); }
  static F load_bf16(const std::byte* p) { return _mm256_castsi256_ps(sll<16>(load_u16(p))); }
  static F to_float(I v) { return _mm256_cvtepi32_ps(v); }

  static I load(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static I load_u16(const std::byte* p) { return _mm256_cvtepu16_epi32(load128(p)); }
  static I set8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static I set32(int32_t v) { return _mm256_set1_epi32(v); }
  static I set_pair(const void* p) {
    int32_t v;
    std::memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
  }
  static I band(I a, I b) { return _mm256_and_si256(a, b); }
  static I merge(I base, I v, I mask) { return _mm256_or_si256(base, _mm256_and_si256(v, mask)); }
  static I bor(I a, I b) { return _mm256_or_si256(a, b); }
  static I bxor(I a, I b) { return _mm256_xor_si256(a, b); }
  static I sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I madd(I a, I b) { return _mm256_madd_epi16(a, b); }
  template <int n>
  static I srl(I a) {
    return _mm256_srli_epi32(a, n);
  }
  template <int n>
  static I sll(I a) {
    return _mm256_slli_epi32(a, n);
  }
  template <int n>
  static I sra(I a) {
    return _mm256_srai_epi32(a, n);
  }
  template <typename... Byte>
  static I table(Byte... b) {
    return _mm256_broadcastsi128_si256(_mm_setr_epi8(static_cast<char>(b)...));
  }
  static I look_up(I table, I index) { return _mm256_shuffle_epi8(table, index); }

 private:
  static __m128i load128(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
};

}  // namespace
}  // namespace decant::kernels
