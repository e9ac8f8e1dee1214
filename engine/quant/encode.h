// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace decant::quant {

// n floats → the bytes of a row, rounded as ggml's reference quantizers round. n is a multiple of the format's block.
void encode_f32(const float* in, int n, std::byte* row);
void encode_f16(const float* in, int n, std::byte* row);
void encode_bf16(const float* in, int n, std::byte* row);
void encode_q8_0(const float* in, int n, std::byte* row);
void encode_q4_0(const float* in, int n, std::byte* row);
void encode_q4_1(const float* in, int n, std::byte* row);
void encode_q5_0(const float* in, int n, std::byte* row);
void encode_q5_1(const float* in, int n, std::byte* row);

}  // namespace decant::quant
