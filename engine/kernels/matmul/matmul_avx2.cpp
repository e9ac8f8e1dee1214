// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <immintrin.h>

#include "engine/kernels/matmul/matmul_tables.h"
#include "engine/kernels/matmul/tile_products.h"
#include "engine/kernels/matmul/vector_avx2.h"

namespace decant::kernels {
namespace {

struct Avx2 : Vector256 {
  template <int kMax, int kGroups, int kTiles, class SubTile>
  static void dots(const SubTile* s, int first, const int8_t* q, I start, I* sum) {
    for (int i = 0; i < kTiles; ++i) sum[i] = dot<kMax, kGroups>(s[i].w + first, q, start);
  }
  /// start + Σ w·q over 4·kGroups elements of each lane; see matmul_avx512.cpp.
  template <int kMax, int kGroups>
  static I dot(const I* w, const int8_t* q, I start) {
    const I ones = _mm256_set1_epi16(1);
    if constexpr (kMax == 255) {
      I sum = _mm256_setzero_si256();
      for (int g = 0; g < kGroups; ++g) {
        const I value = bxor(w[g], set8(0x80));
        const I signed_x = _mm256_sign_epi8(set_pair(q + 4 * g), value);
        sum = _mm256_add_epi32(sum, madd(_mm256_maddubs_epi16(_mm256_abs_epi8(value), signed_x), ones));
      }
      return sum;
    } else {
      constexpr int kFit = 32767 / (2 * 127 * kMax) < kGroups ? 32767 / (2 * 127 * kMax) : kGroups;
      I sum = start;
      for (int g = 0; g < kGroups; g += kFit) {
        I pairs = _mm256_maddubs_epi16(w[g], set_pair(q + 4 * g));
        for (int i = g + 1; i < g + kFit; ++i) {
          pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[i], set_pair(q + 4 * i)));
        }
        sum = _mm256_add_epi32(sum, madd(pairs, ones));
      }
      return sum;
    }
  }
};

bool quantize_row(const float* x, int n, int8_t* q, float* d, int16_t* sums) {
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX), ones = _mm256_set1_epi8(1);
  for (int k = 0; k < n; k += 32, x += 32, q += 32, ++d, sums += 2) {
    __m256 v[4];
    for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(x + 8 * i);
    __m256i greatest = _mm256_setzero_si256();
    for (const __m256& part : v) {
      greatest = _mm256_max_epi32(greatest, _mm256_and_si256(_mm256_castps_si256(part), magnitude));
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(greatest), _mm256_extracti128_si256(greatest, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    const int32_t bits = _mm_cvtsi128_si32(m);
    if (bits >= 0x7F800000) return false;
    float amax;
    std::memcpy(&amax, &bits, sizeof amax);
    const bool zeros = amax < kLeastAmax;
    const __m256 id = _mm256_set1_ps(zeros ? 0.0F : 127.0F / amax);
    *d = zeros ? 0.0F : amax / 127.0F;
    __m256i i32[4];
    for (int i = 0; i < 4; ++i) i32[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], id));
    // Packing works within halves of a register: elements come out 0-3 8-11 16-19 24-27, 4-7 12-15 20-23 28-31.
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(i32[0], i32[1]), _mm256_packs_epi32(i32[2], i32[3]));
    const __m256i ordered = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), ordered);
    const __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, ordered), _mm256_set1_epi16(1));
    for (int half = 0; half < 2; ++half) {
      __m128i s = half == 0 ? _mm256_castsi256_si128(fours) : _mm256_extracti128_si256(fours, 1);
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
      sums[half] = static_cast<int16_t>(_mm_cvtsi128_si32(s));
    }
  }
  return true;
}

using V = Avx2;

}  // namespace

const MatmulTable kMatmulAvx2 = {
    {float_matmul<V, WeightsF32<V>>, float_matmul<V, WeightsF16<V>>, float_matmul<V, WeightsBf16<V>>,
     quantized_matmul<V, TileQ8_0<V>>, quantized_matmul<V, TileQ4_0<V>>, quantized_matmul<V, TileQ4_1<V>>,
     quantized_matmul<V, TileQ5_0<V>>, quantized_matmul<V, TileQ5_1<V>>, quantized_matmul<V, TileQ2K<V>>,
     quantized_matmul<V, TileQ3K<V>>, quantized_matmul<V, TileQ4K<V>>, quantized_matmul<V, TileQ5K<V>>,
     quantized_matmul<V, TileQ6K<V>>, quantized_matmul<V, TileIq4Nl<V>>, quantized_matmul<V, TileIq4Xs<V>>},
    quantize_row,
};

}  // namespace decant::kernels
