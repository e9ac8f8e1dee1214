// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/kernels/attention_kernels.h"

namespace decant::kernels {

namespace reference {
extern const AttentionKernels kAttention;
}
namespace reference_fma {
extern const AttentionKernels kAttention;  ///< the same source, compiled with -mfma
}
extern const AttentionKernels kAttentionAvx2;
extern const AttentionKernels kAttentionAvx512;

// Rows in and out of tiles, in plain code.
bool store_k_f32(const float* k, int k_dim, std::byte* tile, int lane);
bool store_k_f16(const float* k, int k_dim, std::byte* tile, int lane);
bool store_v_f32(const float* v, int v_dim, std::byte* tile, int row);
bool store_v_f16(const float* v, int v_dim, std::byte* tile, int row);
void load_k_f32(const std::byte* tile, int lane, int k_dim, float* k);
void load_k_f16(const std::byte* tile, int lane, int k_dim, float* k);
void load_v_f32(const std::byte* tile, int row, int v_dim, float* v);
void load_v_f16(const std::byte* tile, int row, int v_dim, float* v);

/// n consecutive elements, widened.
void widen_f16(const uint16_t* half, int n, float* out);

}  // namespace decant::kernels
