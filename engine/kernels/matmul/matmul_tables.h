// SPDX-License-Identifier: Apache-2.0
#pragma once

// Plain structs only: files compiled with their own ISA flags read this header.

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// What one file of products offers, null where a lesser ISA's serves.
struct MatmulTable {
  MatmulFn matmul[kDTypeCount];  ///< in the order of DType
  bool (*quantize_row)(const float* x, int n, int8_t* q, float* d, int16_t* sums);
};

extern const MatmulTable kMatmulReference;     ///< any x86-64; complete
extern const MatmulTable kMatmulReferenceFma;  ///< the same source where the CPU has FMA; complete
extern const MatmulTable kMatmulAvx2;
extern const MatmulTable kMatmulAvxVnni;
extern const MatmulTable kMatmulAvx512;
extern const MatmulTable kMatmulAvx512Vnni;

/// Below this greatest magnitude a block of activations is zeros: 127 / amax stays far from overflow.
inline constexpr float kLeastAmax = 0x1p-100F;

}  // namespace decant::kernels
