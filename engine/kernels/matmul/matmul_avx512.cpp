// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul_tables.h"
#include "engine/kernels/matmul/tile_products.h"
#include "engine/kernels/matmul/vector_avx512.h"

namespace decant::kernels {
namespace {

struct Avx512 : Vector512 {
  template <int kMax, int kGroups, int kTiles, class SubTile>
  static void dots(const SubTile* s, int first, const int8_t* q, I start, I* sum) {
    for (int i = 0; i < kTiles; ++i) sum[i] = dot<kMax, kGroups>(s[i].w + first, q, start);
  }
  /// start + Σ w·q over 4·kGroups elements of each lane, or, with an offset of 128, Σ (w − 128)·q.
  template <int kMax, int kGroups>
  static I dot(const I* w, const int8_t* q, I start) {
    if constexpr (kMax == 255) return signed_dot<kGroups>(w, q);
    // vpmaddubsw saturates at 32767: so many sums of two products fit 16 bits.
    constexpr int kFit = 32767 / (2 * 127 * kMax) < kGroups ? 32767 / (2 * 127 * kMax) : kGroups;
    const I ones = _mm512_set1_epi16(1);
    I sum = start;
    for (int g = 0; g < kGroups; g += kFit) {
      I pairs = _mm512_maddubs_epi16(w[g], set_pair(q + 4 * g));
      for (int i = g + 1; i < g + kFit; ++i) {
        pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(w[i], set_pair(q + 4 * i)));
      }
      sum = _mm512_add_epi32(sum, madd(pairs, ones));
    }
    return sum;
  }

 private:
  /// Bytes 128 too great: their magnitudes, up to 128, times q with their signs; 2 · 128 · 127 fits 16 bits.
  template <int kGroups>
  static I signed_dot(const I* w, const int8_t* q) {
    const I ones = _mm512_set1_epi16(1);
    I sum = _mm512_setzero_si512();
    for (int g = 0; g < kGroups; ++g) {
      const I value = bxor(w[g], set8(0x80));
      const I x = set_pair(q + 4 * g);
      const I signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(value), _mm512_setzero_si512(), x);
      sum = _mm512_add_epi32(sum, madd(_mm512_maddubs_epi16(_mm512_abs_epi8(value), signed_x), ones));
    }
    return sum;
  }
};

bool quantize_row(const float* x, int n, int8_t* q, float* d, int16_t* sums) {
  const __m512i magnitude = _mm512_set1_epi32(INT32_MAX);
  for (int k = 0; k < n; k += 32, x += 32, q += 32, ++d, sums += 2) {
    const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    // As integers magnitudes keep their order, with infinity and NaN above every number.
    const __m512i greatest = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(x0), magnitude),
                                              _mm512_and_si512(_mm512_castps_si512(x1), magnitude));
    const int32_t bits = _mm512_reduce_max_epi32(greatest);
    if (bits >= 0x7F800000) return false;
    float amax;
    std::memcpy(&amax, &bits, sizeof amax);
    const bool zeros = amax < kLeastAmax;
    const __m512 id = _mm512_set1_ps(zeros ? 0.0F : 127.0F / amax);
    *d = zeros ? 0.0F : amax / 127.0F;
    const __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, id)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, id));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + 16), _mm512_cvtepi32_epi8(q1));
    sums[0] = static_cast<int16_t>(_mm512_reduce_add_epi32(q0));
    sums[1] = static_cast<int16_t>(_mm512_reduce_add_epi32(q1));
  }
  return true;
}

using V = Avx512;

}  // namespace

const MatmulTable kMatmulAvx512 = {
    {float_matmul<V, WeightsF32<V>>, float_matmul<V, WeightsF16<V>>, float_matmul<V, WeightsBf16<V>>,
     quantized_matmul<V, TileQ8_0<V>>, quantized_matmul<V, TileQ4_0<V>>, quantized_matmul<V, TileQ4_1<V>>,
     quantized_matmul<V, TileQ5_0<V>>, quantized_matmul<V, TileQ5_1<V>>, quantized_matmul<V, TileQ2K<V>>,
     quantized_matmul<V, TileQ3K<V>>, quantized_matmul<V, TileQ4K<V>>, quantized_matmul<V, TileQ5K<V>>,
     quantized_matmul<V, TileQ6K<V>>, quantized_matmul<V, TileIq4Nl<V>>, quantized_matmul<V, TileIq4Xs<V>>},
    quantize_row,
};

}  // namespace decant::kernels
