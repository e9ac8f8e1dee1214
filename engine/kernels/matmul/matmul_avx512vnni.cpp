// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul_tables.h"
#include "engine/kernels/matmul/tile_products.h"
#include "engine/kernels/matmul/vector_avx512.h"

namespace decant::kernels {
namespace {

struct Vnni : Vector512 {
  /// sum[i] = start + Σ w·q over 4·kGroups elements of each lane of tile i, from group `first` on. vpdpbusd adds four
  /// products of an unsigned and a signed byte without saturation.
  template <int kMax, int kGroups, int kTiles, class SubTile>
  static void dots(const SubTile* s, int first, const int8_t* q, I start, I* sum) {
    for (int i = 0; i < kTiles; ++i) sum[i] = start;
    for (int g = 0; g < kGroups; ++g) {
      const I x = set_pair(q + 4 * g);
      for (int i = 0; i < kTiles; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], s[i].w[first + g], x);
    }
  }
};

}  // namespace

// Float products have nothing to gain from VNNI: those of AVX-512 serve.
const MatmulTable kMatmulAvx512Vnni = {
    {nullptr, nullptr, nullptr, quantized_matmul<Vnni, TileQ8_0<Vnni>>, quantized_matmul<Vnni, TileQ4_0<Vnni>>,
     quantized_matmul<Vnni, TileQ4_1<Vnni>>, quantized_matmul<Vnni, TileQ5_0<Vnni>>,
     quantized_matmul<Vnni, TileQ5_1<Vnni>>, quantized_matmul<Vnni, TileQ2K<Vnni>>,
     quantized_matmul<Vnni, TileQ3K<Vnni>>, quantized_matmul<Vnni, TileQ4K<Vnni>>,
     quantized_matmul<Vnni, TileQ5K<Vnni>>, quantized_matmul<Vnni, TileQ6K<Vnni>>,
     quantized_matmul<Vnni, TileIq4Nl<Vnni>>, quantized_matmul<Vnni, TileIq4Xs<Vnni>>},
    nullptr,
};

}  // namespace decant::kernels
