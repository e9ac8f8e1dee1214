// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "engine/quant/format.h"

namespace decant::quant {

/// A run of a file block that a tile block keeps together: units of 2 or 4 bytes, each of them [n_units][16
/// rows][unit]. With units of 4 bytes a lane of 32 bits holds one row's, which is what the integer dot instructions
/// want.
struct Segment {
  int offset;  ///< of the first unit in the file's block
  int unit_bytes;
  int n_units;
};

// One struct a format: the block as llama.cpp's ggml-common.h lays it out, and the order of its parts in a tile.
// Scales come first in a tile since products need them first.

struct BlockF32 {
  static constexpr int kValues = 1, kBytes = 4;
  static constexpr Segment kSegments[] = {{0, 4, 1}};
};
struct BlockHalf {
  static constexpr int kValues = 1, kBytes = 2;
  static constexpr Segment kSegments[] = {{0, 2, 1}};
};

struct BlockQ8_0 {  // d: f16; q[32]
  static constexpr int kValues = 32, kBytes = 34;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 4, 8}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4_0 {  // d: f16; q[16]: element i in the low half of byte i, element 16 + i in the high half
  static constexpr int kValues = 32, kBytes = 18;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4_1 {  // d, m: f16; q[16] as Q4_0
  static constexpr int kValues = 32, kBytes = 20;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5_0 {  // d: f16; fifth bits: u32, bit i of element i; q[16] as Q4_0
  static constexpr int kValues = 32, kBytes = 22;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 4, 1}, {6, 4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5_1 {  // d, m: f16; fifth bits; q[16]
  static constexpr int kValues = 32, kBytes = 24;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 1}, {8, 4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockIq4Nl {  // as Q4_0, but an index into a table
  static constexpr int kValues = 32, kBytes = 18;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};

struct BlockQ2K {  // scales[16]: scale | min << 4; q[64]; d, dmin: f16
  static constexpr int kValues = 256, kBytes = 84;
  static constexpr Segment kSegments[] = {{80, 2, 1}, {82, 2, 1}, {0, 4, 4}, {16, 4, 16}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ3K {  // third bits[32]; q[64]; scales[12] of 6 bits; d: f16
  static constexpr int kValues = 256, kBytes = 110;
  static constexpr Segment kSegments[] = {{108, 2, 1}, {96, 4, 3}, {0, 4, 8}, {32, 4, 16}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4K {  // d, dmin: f16; scales and mins[12] of 6 bits; q[128]
  static constexpr int kValues = 256, kBytes = 144;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 3}, {16, 4, 32}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5K {  // d, dmin: f16; scales and mins[12]; fifth bits[32]; q[128]
  static constexpr int kValues = 256, kBytes = 176;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 3}, {16, 4, 8}, {48, 4, 32}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ6K {  // low four bits[128]; high two bits[64]; scales[16]: i8; d: f16
  static constexpr int kValues = 256, kBytes = 210;
  // In the order in which a product first needs them: reading ahead to and fro halves what memory delivers.
  static constexpr Segment kSegments[] = {{208, 2, 1}, {192, 4, 4}, {0, 4, 8},   {128, 4, 8},
                                          {32, 4, 8},  {64, 4, 8},  {160, 4, 8}, {96, 4, 8}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockIq4Xs {  // d: f16; high bits of scales: u16; low bits[4]; q[128]: sub-blocks as IQ4_NL
  static constexpr int kValues = 256, kBytes = 136;
  static constexpr Segment kSegments[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 1}, {8, 4, 32}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};

}  // namespace decant::quant
