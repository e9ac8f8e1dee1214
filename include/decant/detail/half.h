// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace decant::detail {

/// binary16 → binary32, exact. A signalling NaN becomes quiet, as the hardware's conversion makes it.
inline float f16_to_f32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1FU) {
    const uint32_t quiet = mantissa != 0 ? 0x00400000U : 0U;
    return std::bit_cast<float>(sign | 0x7F800000U | quiet | (mantissa << 13));
  }
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  if (mantissa == 0) return std::bit_cast<float>(sign);
  // A subnormal is mantissa · 2^-24: shift its leading one to the implicit place.
  const uint32_t shift = static_cast<uint32_t>(std::countl_zero(mantissa)) - 21U;  // 1 … 10
  return std::bit_cast<float>(sign | ((113U - shift) << 23) | (((mantissa << shift) & 0x3FFU) << 13));
}

/// binary32 → binary16, to nearest, ties to even. Values that round beyond 65504 become infinity; a NaN stays a quiet
/// NaN.
inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // ≥ 65520: half way to 65536
  if (magnitude >= 0x38800000U) {                                              // ≥ 2^-14: normal
    const uint32_t rebased = magnitude - (112U << 23);
    return static_cast<uint16_t>(sign | ((rebased + 0xFFFU + ((rebased >> 13) & 1U)) >> 13));
  }
  if (magnitude < 0x33000000U) return static_cast<uint16_t>(sign);  // < 2^-25: below half of the least subnormal
  const uint32_t shift = 126U - (magnitude >> 23);                  // 14 … 24: bits below 2^-24
  const uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
  const uint32_t half_minus = (1U << (shift - 1U)) - 1U;
  return static_cast<uint16_t>(sign | ((mantissa + half_minus + ((mantissa >> shift) & 1U)) >> shift));
}

/// bfloat16 → binary32, exact.
inline float bf16_to_f32(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

/// binary32 → bfloat16, to nearest, ties to even; a NaN stays a quiet NaN.
inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace decant::detail
