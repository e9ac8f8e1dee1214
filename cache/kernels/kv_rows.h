// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows in and out of tiles in plain code, for every ISA. Declared type by type, as the tables list them.

#include <cstddef>

#include "cache/kernels/attention_kernels.h"

namespace decant::kernels {

using StoreKeys = bool(const float* k, int k_dim, std::byte* tile, int lane);
using StoreValues = bool(const float* v, int v_dim, std::byte* tile, int row);
using LoadKeys = void(const std::byte* tile, int lane, int k_dim, float* k);
using LoadValues = void(const std::byte* tile, int row, int v_dim, float* v);
using CopyKeys = void(const std::byte* from, int from_lane, int k_dim, std::byte* to, int to_lane);
using CopyValues = void(const std::byte* from, int from_row, int v_dim, std::byte* to, int to_row);

StoreKeys store_k_f32, store_k_f16, store_k_bf16, store_k_q8, store_k_q4, store_k_q4_plain;
StoreValues store_v_f32, store_v_f16, store_v_bf16, store_v_q8, store_v_q4, store_v_q4_plain;
LoadKeys load_k_f32, load_k_f16, load_k_bf16, load_k_q8, load_k_q4, load_k_q4_plain;
LoadValues load_v_f32, load_v_f16, load_v_bf16, load_v_q8, load_v_q4, load_v_q4_plain;
CopyKeys copy_k_f32, copy_k_16, copy_k_q8, copy_k_q4;  ///< 16: f16 and bf16; q4: either
CopyValues copy_v_f32, copy_v_16, copy_v_q8, copy_v_q4;

/// What attention reads: channel ch of a K tile's 16 slots, and up to 32 channels from 32 · block on of a slot of a V
/// tile, each the exact binary32 value of what is stored (for q4: of the rotated row).
using WidenKeys = void(const std::byte* tile, int ch, float* lanes);
using WidenValues = void(const std::byte* tile, int row, int v_dim, int block, float* values);

WidenKeys widen_keys_f32, widen_keys_f16, widen_keys_bf16, widen_keys_q8, widen_keys_q4;
WidenValues widen_values_f32, widen_values_f16, widen_values_bf16, widen_values_q8, widen_values_q4;

}  // namespace decant::kernels
