// SPDX-License-Identifier: Apache-2.0
#pragma once

// A row's block as a file has it, and as a tile keeps it: see blocks.h.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/quant/blocks.h"

namespace decant::quant {

template <typename Block>
constexpr int n_halves() {
  if constexpr (requires { Block::kHalves; }) return static_cast<int>(std::size(Block::kHalves));
  return 0;
}

/// Words that precede the planes.
template <typename Block>
constexpr int n_run_words() {
  int n = 0;
  if constexpr (requires { Block::kFifthBits; }) ++n;
  if constexpr (requires { Block::kRuns; })
    for (const Run& run : Block::kRuns) n += run.n_words;
  return n;
}

template <typename Block>
constexpr int n_words() {
  if constexpr (requires { Block::kBits; }) return n_run_words<Block>() + Block::kValues / kBlock * Block::kBits;
  return n_run_words<Block>();
}

/// Bytes of a tile block: filled up to whole cache lines where that costs no more than 2 %.
template <typename Block>
constexpr int tile_block_bytes() {
  const int bytes = kTileRows * (2 * n_halves<Block>() + 4 * n_words<Block>());
  const int lines = (bytes + 63) / 64 * 64;
  return (lines - bytes) * 50 <= bytes ? lines : bytes;
}

/// What a tile keeps of one row's block.
template <typename Block>
struct Lanes {
  uint16_t halves[n_halves<Block>() > 0 ? n_halves<Block>() : 1];
  uint32_t words[n_words<Block>() > 0 ? n_words<Block>() : 1];
};

/// A bit of every byte of a word.
constexpr uint32_t every_byte(uint32_t byte) { return byte * 0x01010101U; }

inline uint32_t load_word(const std::byte* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

/// Elements in the bytes of 8 words → their planes; returns the words written.
template <int kBits>
int to_planes(const uint32_t* w, uint32_t* out) {
  constexpr bool kHasOne = kBits % 2 != 0, kHasTwo = kBits == 2 || kBits == 3 || kBits == 6, kHasFour = kBits >= 4;
  constexpr int kLow = kHasFour ? 4 : 2;  // bits of the widest plane
  uint32_t* const begin = out;
  if constexpr (kHasOne) {
    uint32_t plane = 0;
    for (int g = 0; g < 8; ++g) plane |= (w[g] >> kLow & every_byte(1)) << g;
    *out++ = plane;
  }
  if constexpr (kHasTwo) {
    constexpr int kFrom = kHasFour ? 4 : 0;
    for (int u = 0; u < 2; ++u) {
      uint32_t plane = 0;
      for (int t = 0; t < 4; ++t) plane |= (w[4 * u + t] >> kFrom & every_byte(3)) << (2 * t);
      *out++ = plane;
    }
  }
  if constexpr (kHasFour) {
    for (int u = 0; u < 4; ++u) *out++ = (w[u] & every_byte(15)) | (w[4 + u] & every_byte(15)) << 4;
  }
  return static_cast<int>(out - begin);
}

/// The inverse of to_planes(); returns the words read.
template <int kBits>
int from_planes(const uint32_t* in, uint32_t* w) {
  constexpr bool kHasOne = kBits % 2 != 0, kHasTwo = kBits == 2 || kBits == 3 || kBits == 6, kHasFour = kBits >= 4;
  constexpr int kLow = kHasFour ? 4 : 2;
  const uint32_t* const begin = in;
  for (int g = 0; g < 8; ++g) w[g] = 0;
  if constexpr (kHasOne) {
    for (int g = 0; g < 8; ++g) w[g] |= (*in >> g & every_byte(1)) << kLow;
    ++in;
  }
  if constexpr (kHasTwo) {
    constexpr int kTo = kHasFour ? 4 : 0;
    for (int u = 0; u < 2; ++u, ++in) {
      for (int t = 0; t < 4; ++t) w[4 * u + t] |= (*in >> (2 * t) & every_byte(3)) << kTo;
    }
  }
  if constexpr (kHasFour) {
    for (int u = 0; u < 4; ++u, ++in) {
      w[u] |= *in & every_byte(15);
      w[4 + u] |= *in >> 4 & every_byte(15);
    }
  }
  return static_cast<int>(in - begin);
}

/// Bit 4g + b of a word ↔ bit g of byte b.
inline uint32_t fifth_bits_to_plane(uint32_t fifth) {
  uint32_t plane = 0;
  for (int i = 0; i < kBlock; ++i) plane |= (fifth >> i & 1U) << (8 * (i % 4) + i / 4);
  return plane;
}
inline uint32_t plane_to_fifth_bits(uint32_t plane) {
  uint32_t fifth = 0;
  for (int i = 0; i < kBlock; ++i) fifth |= (plane >> (8 * (i % 4) + i / 4) & 1U) << i;
  return fifth;
}

template <typename Block>
void to_lanes(const std::byte* block, Lanes<Block>& out) {
  if constexpr (requires { Block::kHalves; }) {
    uint16_t* half = out.halves;
    for (const int offset : Block::kHalves) std::memcpy(half++, block + offset, 2);
  }
  uint32_t* word = out.words;
  if constexpr (requires { Block::kFifthBits; }) *word++ = fifth_bits_to_plane(load_word(block + Block::kFifthBits));
  if constexpr (requires { Block::kRuns; }) {
    for (const Run& run : Block::kRuns) {
      std::memcpy(word, block + run.offset, 4 * static_cast<size_t>(run.n_words));
      word += run.n_words;
    }
  }
  if constexpr (requires { Block::kBits; }) {
    constexpr int kFields = Block::kBits == 3 || Block::kBits > 4 ? 2 : 1;
    for (int sub = 0; sub < Block::kValues / kBlock; ++sub) {
      uint32_t w[8] = {};
      for (int i = 0; i < kFields; ++i) {
        const Field field = Block::field(sub, i);
        const uint32_t mask = every_byte((1U << field.n_bits) - 1);
        for (int g = 0; g < 8; ++g) w[g] |= (load_word(block + field.offset + 4 * g) >> field.shift & mask) << field.to;
      }
      word += to_planes<Block::kBits>(w, word);
    }
  }
}

/// The inverse of to_lanes(): the bytes that the block had in its file.
template <typename Block>
void from_lanes(const Lanes<Block>& in, std::byte* block) {
  std::memset(block, 0, Block::kBytes);
  if constexpr (requires { Block::kHalves; }) {
    const uint16_t* half = in.halves;
    for (const int offset : Block::kHalves) std::memcpy(block + offset, half++, 2);
  }
  const uint32_t* word = in.words;
  if constexpr (requires { Block::kFifthBits; }) {
    const uint32_t fifth = plane_to_fifth_bits(*word++);
    std::memcpy(block + Block::kFifthBits, &fifth, 4);
  }
  if constexpr (requires { Block::kRuns; }) {
    for (const Run& run : Block::kRuns) {
      std::memcpy(block + run.offset, word, 4 * static_cast<size_t>(run.n_words));
      word += run.n_words;
    }
  }
  if constexpr (requires { Block::kBits; }) {
    constexpr int kFields = Block::kBits == 3 || Block::kBits > 4 ? 2 : 1;
    for (int sub = 0; sub < Block::kValues / kBlock; ++sub) {
      uint32_t w[8];
      word += from_planes<Block::kBits>(word, w);
      for (int i = 0; i < kFields; ++i) {
        const Field field = Block::field(sub, i);
        const uint32_t mask = every_byte((1U << field.n_bits) - 1);
        for (int g = 0; g < 8; ++g) {
          std::byte* const at = block + field.offset + 4 * g;
          const uint32_t all = load_word(at) | (w[g] >> field.to & mask) << field.shift;
          std::memcpy(at, &all, 4);
        }
      }
    }
  }
}

}  // namespace decant::quant
