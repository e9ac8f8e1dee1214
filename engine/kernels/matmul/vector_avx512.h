// SPDX-License-Identifier: Apache-2.0
#pragma once

// A register of 16 lanes, for files compiled for AVX-512 (F, BW, DQ, VL). All of it has internal linkage.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

namespace decant::kernels {
namespace {

struct Vector512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16, kParts = 1;
  static constexpr int kDecodeTiles = 4;     ///< tiles at once in a float product of one token
  static constexpr int kFloatTiles = 2;      ///< … and of more
  static constexpr int kFloatTokens = 12;    ///< 2 · 12 sums of 32 registers
  static constexpr int kQuantizedTiles = 2;  ///< tiles at once in an int8 product of more than one token

  static F zero() { return _mm512_setzero_ps(); }
  static I zero_i() { return _mm512_setzero_si512(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F negate(F a) { return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), set32(INT32_MIN))); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F load_f32(const void* p) { return _mm512_loadu_ps(p); }
  static F load_f16(const std::byte* p) { return _mm512_cvtph_ps(load256(p)); }
  static F load_bf16(const std::byte* p) { return _mm512_castsi512_ps(sll<16>(load_u16(p))); }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }

  static I load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static I load_u16(const std::byte* p) { return _mm512_cvtepu16_epi32(load256(p)); }
  static I set8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static I set32(int32_t v) { return _mm512_set1_epi32(v); }
  static I set_pair(const void* p) {
    int32_t v;
    std::memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
  }
  static I band(I a, I b) { return _mm512_and_si512(a, b); }
  /// base | (v & mask)
  static I merge(I base, I v, I mask) { return _mm512_ternarylogic_epi32(base, v, mask, 0xF8); }
  static I bor(I a, I b) { return _mm512_or_si512(a, b); }
  static I bxor(I a, I b) { return _mm512_xor_si512(a, b); }
  static I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I madd(I a, I b) { return _mm512_madd_epi16(a, b); }
  template <int n>
  static I srl(I a) {
    return _mm512_srli_epi32(a, n);
  }
  template <int n>
  static I sll(I a) {
    return _mm512_slli_epi32(a, n);
  }
  template <int n>
  static I sra(I a) {
    return _mm512_srai_epi32(a, n);
  }
  template <typename... Byte>
  static I table(Byte... b) {
    return _mm512_broadcast_i32x4(_mm_setr_epi8(static_cast<char>(b)...));
  }
  static I look_up(I table, I index) { return _mm512_shuffle_epi8(table, index); }

 private:
  static __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
};

}  // namespace
}  // namespace decant::kernels
