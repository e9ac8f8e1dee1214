// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul_tables.h"
#include "engine/kernels/matmul/tile_products.h"
#include "engine/kernels/matmul/vector_avx2.h"

namespace decant::kernels {
namespace {

struct AvxVnni : Vector256 {
  /// sum[i] = start + Σ w·q over 4·kGroups elements of each lane of tile i, from group `first` on; see
  /// matmul_avx512vnni.cpp.
  template <int kMax, int kGroups, int kTiles, class SubTile>
  static void dots(const SubTile* s, int first, const int8_t* q, I start, I* sum) {
    for (int i = 0; i < kTiles; ++i) sum[i] = start;
    for (int g = 0; g < kGroups; ++g) {
      const I x = set_pair(q + 4 * g);
      for (int i = 0; i < kTiles; ++i) sum[i] = _mm256_dpbusd_avx_epi32(sum[i], s[i].w[first + g], x);
    }
  }
};

using V = AvxVnni;

}  // namespace

// Float products have nothing to gain from VNNI: those of AVX2 serve.
const MatmulTable kMatmulAvxVnni = {
    {nullptr, nullptr, nullptr, quantized_matmul<V, TileQ8_0<V>>, quantized_matmul<V, TileQ4_0<V>>,
     quantized_matmul<V, TileQ4_1<V>>, quantized_matmul<V, TileQ5_0<V>>, quantized_matmul<V, TileQ5_1<V>>,
     quantized_matmul<V, TileQ2K<V>>, quantized_matmul<V, TileQ3K<V>>, quantized_matmul<V, TileQ4K<V>>,
     quantized_matmul<V, TileQ5K<V>>, quantized_matmul<V, TileQ6K<V>>, quantized_matmul<V, TileIq4Nl<V>>,
     quantized_matmul<V, TileIq4Xs<V>>},
    nullptr,
};

}  // namespace decant::kernels
