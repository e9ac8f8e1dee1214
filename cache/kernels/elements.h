// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace decant::kernels {

// Names by which templates tell the stored types apart; binary32 is float, binary16 uint16_t, q8's integers int8_t.

/// bfloat16.
struct Bf16 {
  uint16_t bits;
};
/// Four bits of q4 and q4_plain, two in a byte.
struct Nibble {};

}  // namespace decant::kernels
