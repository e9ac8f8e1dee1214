// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "engine/quant/format.h"

namespace decant::quant {

// One struct a format: the block as llama.cpp's ggml-common.h lays it out, and what a tile keeps of a row's block.
//
// A tile block is [n_halves][16 rows] values of 16 bits, then [n_words][16 rows] of 32 bits: one register load gives a
// lane of 32 bits to each row, which is what the integer dot instructions want. The words are runs of the file's block
// as they are, then, for each 32 elements, their bits in planes, in the order in which a product reads them:
//
//   1 word, if their width is odd: bit g of byte b is the top bit of element 4g + b
//   2 words of two bits: bits 2t, 2t + 1 of byte b of word u are those of element 16u + 4t + b
//   4 words of four bits: the low half of byte b of word u is element 4u + b's, the high half element 16 + 4u + b's
//
// Widths are 2 = two; 3 = one + two; 4 = four; 5 = one + four; 6 = two + four, the wider plane being the low bits.

/// Words of the file's block that a tile keeps as they are.
struct Run {
  int offset;  ///< bytes into the block
  int n_words;
};

/// Where some bits of 32 elements lie in the file's block: word 4g … 4g + 3 of bytes at `offset` holds those of
/// elements 4g … 4g + 3, one a byte, `shift` bits up.
struct Field {
  int offset;
  int shift;
  int n_bits;
  int to;  ///< their place in the element
};

struct BlockF32 {
  static constexpr int kValues = 1, kBytes = 4;
  static constexpr Run kRuns[] = {{0, 1}};
};
struct BlockHalf {
  static constexpr int kValues = 1, kBytes = 2;
  static constexpr int kHalves[] = {0};
};

struct BlockQ8_0 {  // d: f16; q[32]
  static constexpr int kValues = 32, kBytes = 34;
  static constexpr int kHalves[] = {0};
  static constexpr Run kRuns[] = {{2, 8}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4_0 {  // d: f16; q[16]: element i in the low half of byte i, element 16 + i in the high half
  static constexpr int kValues = 32, kBytes = 18;
  static constexpr int kHalves[] = {0};
  static constexpr Run kRuns[] = {{2, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4_1 {  // d, m: f16; q[16] as Q4_0
  static constexpr int kValues = 32, kBytes = 20;
  static constexpr int kHalves[] = {0, 2};
  static constexpr Run kRuns[] = {{4, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5_0 {  // d: f16; fifth bits: u32, bit i of element i; q[16] as Q4_0
  static constexpr int kValues = 32, kBytes = 22;
  static constexpr int kHalves[] = {0};
  static constexpr int kFifthBits = 2;  // their word comes first and is turned into a plane
  static constexpr Run kRuns[] = {{6, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5_1 {  // d, m: f16; fifth bits; q[16]
  static constexpr int kValues = 32, kBytes = 24;
  static constexpr int kHalves[] = {0, 2};
  static constexpr int kFifthBits = 4;
  static constexpr Run kRuns[] = {{8, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockIq4Nl {  // as Q4_0, but an index into a table
  static constexpr int kValues = 32, kBytes = 18;
  static constexpr int kHalves[] = {0};
  static constexpr Run kRuns[] = {{2, 4}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};

struct BlockQ2K {  // scales[16]: scale | min << 4; q[64]; d, dmin: f16
  static constexpr int kValues = 256, kBytes = 84;
  static constexpr int kHalves[] = {80, 82};
  static constexpr Run kRuns[] = {{0, 4}};
  static constexpr int kBits = 2;
  static constexpr Field field(int sub, int /*i*/) { return {16 + 32 * (sub / 4), 2 * (sub % 4), 2, 0}; }
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ3K {  // third bits[32]; q[64]; scales[12] of 6 bits; d: f16
  static constexpr int kValues = 256, kBytes = 110;
  static constexpr int kHalves[] = {108};
  static constexpr Run kRuns[] = {{96, 3}};
  static constexpr int kBits = 3;
  static constexpr Field field(int sub, int i) {
    return i == 0 ? Field{32 + 32 * (sub / 4), 2 * (sub % 4), 2, 0} : Field{0, sub, 1, 2};
  }
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ4K {  // d, dmin: f16; scales and mins[12] of 6 bits; q[128]
  static constexpr int kValues = 256, kBytes = 144;
  static constexpr int kHalves[] = {0, 2};
  static constexpr Run kRuns[] = {{4, 3}};
  static constexpr int kBits = 4;
  static constexpr Field field(int sub, int /*i*/) { return {16 + 32 * (sub / 2), 4 * (sub % 2), 4, 0}; }
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ5K {  // d, dmin: f16; scales and mins[12]; fifth bits[32]; q[128]
  static constexpr int kValues = 256, kBytes = 176;
  static constexpr int kHalves[] = {0, 2};
  static constexpr Run kRuns[] = {{4, 3}};
  static constexpr int kBits = 5;
  static constexpr Field field(int sub, int i) {
    return i == 0 ? Field{48 + 32 * (sub / 2), 4 * (sub % 2), 4, 0} : Field{16, sub, 1, 4};
  }
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockQ6K {  // low four bits[128]; high two bits[64]; scales[16]: i8; d: f16
  static constexpr int kValues = 256, kBytes = 210;
  static constexpr int kHalves[] = {208};
  static constexpr Run kRuns[] = {{192, 4}};
  static constexpr int kBits = 6;
  static constexpr Field field(int sub, int i) {
    const int half = sub / 4, j = sub % 4;  // of 128 elements, which lie in 64 bytes of low and 32 bytes of high bits
    return i == 0 ? Field{64 * half + 32 * (j % 2), 4 * (j / 2), 4, 0} : Field{128 + 32 * half, 2 * j, 2, 4};
  }
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};
struct BlockIq4Xs {  // d: f16; high bits of scales: u16; low bits[4]; q[128]: sub-blocks as IQ4_NL
  static constexpr int kValues = 256, kBytes = 136;
  static constexpr int kHalves[] = {0, 2};
  static constexpr Run kRuns[] = {{4, 1}, {8, 32}};
  static void unpack(const std::byte* block, int sub, SubBlock* out);
};

}  // namespace decant::quant
