// SPDX-License-Identifier: Apache-2.0
#pragma once

// A row's block as a file has it, and as a tile keeps it: see blocks.h.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <emmintrin.h>

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

/// Which planes elements of so many bits have (see blocks.h).
template <int kBits>
struct Planes {
  static constexpr bool kHasOne = kBits % 2 != 0, kHasTwo = kBits % 4 >= 2, kHasFour = kBits >= 4;
  static constexpr int kLow = kHasFour ? 4 : 2;    // bits of the widest plane
  static constexpr int kTwoAt = kHasFour ? 4 : 0;  // where the plane of two bits belongs in an element
  static constexpr int kCount = kHasOne + kHasTwo + kHasFour;
};

/// 32 elements, one a byte: 8 words.
struct Elements {
  __m128i low, high;
};

inline __m128i load_words(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

/// Words 0 … 3 of x, word t shifted up by kBits · t, in one word. Nothing of a word may reach into the next one's bits.
template <int kBits>
uint32_t join_words(__m128i x) {
  x = _mm_or_si128(x, _mm_slli_epi32(_mm_srli_si128(x, 4), kBits));
  x = _mm_or_si128(x, _mm_slli_epi32(_mm_srli_si128(x, 8), 2 * kBits));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(x));
}

inline __m128i every_byte_vector(uint32_t byte) { return _mm_set1_epi32(static_cast<int>(every_byte(byte))); }

/// Elements → their planes; returns the words written.
template <int kBits>
int to_planes(Elements w, uint32_t* out) {
  using P = Planes<kBits>;
  uint32_t* const begin = out;
  if constexpr (P::kHasOne) {
    const __m128i one = every_byte_vector(1);
    const __m128i low = _mm_and_si128(_mm_srli_epi32(w.low, P::kLow), one);
    const __m128i high = _mm_and_si128(_mm_srli_epi32(w.high, P::kLow), one);
    *out++ = join_words<1>(_mm_or_si128(low, _mm_slli_epi32(high, 4)));
  }
  if constexpr (P::kHasTwo) {
    const __m128i three = every_byte_vector(3);
    *out++ = join_words<2>(_mm_and_si128(_mm_srli_epi32(w.low, P::kTwoAt), three));
    *out++ = join_words<2>(_mm_and_si128(_mm_srli_epi32(w.high, P::kTwoAt), three));
  }
  if constexpr (P::kHasFour) {
    const __m128i fifteen = every_byte_vector(15);
    const __m128i low = _mm_and_si128(w.low, fifteen), high = _mm_and_si128(w.high, fifteen);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_or_si128(low, _mm_slli_epi32(high, 4)));
    out += 4;
  }
  return static_cast<int>(out - begin);
}

/// The inverse of to_planes(); returns the words read.
template <int kBits>
int from_planes(const uint32_t* in, uint32_t* w) {
  using P = Planes<kBits>;
  const uint32_t* const begin = in;
  for (int g = 0; g < 8; ++g) w[g] = 0;
  if constexpr (P::kHasOne) {
    for (int g = 0; g < 8; ++g) w[g] |= (*in >> g & every_byte(1)) << P::kLow;
    ++in;
  }
  if constexpr (P::kHasTwo) {
    for (int u = 0; u < 2; ++u, ++in) {
      for (int t = 0; t < 4; ++t) w[4 * u + t] |= (*in >> (2 * t) & every_byte(3)) << P::kTwoAt;
    }
  }
  if constexpr (P::kHasFour) {
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
  for (int b = 0; b < 4; ++b) {  // bits b, 4 + b, … 28 + b moved together
    uint32_t bits = fifth >> b & 0x11111111U;
    bits = (bits | bits >> 3) & 0x03030303U;
    bits = (bits | bits >> 6) & 0x000F000FU;
    plane |= ((bits | bits >> 12) & 0xFFU) << (8 * b);
  }
  return plane;
}
inline uint32_t plane_to_fifth_bits(uint32_t plane) {
  uint32_t fifth = 0;
  for (int i = 0; i < kBlock; ++i) fifth |= (plane >> (8 * (i % 4) + i / 4) & 1U) << i;
  return fifth;
}

/// Some bits of 32 elements, in place within them.
template <typename Block, int kSub, int kField>
Elements field_of(const std::byte* block) {
  constexpr Field kAt = Block::field(kSub, kField);
  const __m128i mask = every_byte_vector((1U << kAt.n_bits) - 1);
  const auto take = [=](__m128i words) {
    return _mm_slli_epi32(_mm_and_si128(_mm_srli_epi32(words, kAt.shift), mask), kAt.to);
  };
  return {take(load_words(block + kAt.offset)), take(load_words(block + kAt.offset + 16))};
}

/// Elements of sub-block kSub of a block.
template <typename Block, int kSub>
Elements elements(const std::byte* block) {
  Elements all = field_of<Block, kSub, 0>(block);
  if constexpr (Planes<Block::kBits>::kCount == 2) {
    const Elements more = field_of<Block, kSub, 1>(block);
    all.low = _mm_or_si128(all.low, more.low);
    all.high = _mm_or_si128(all.high, more.high);
  }
  return all;
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
    // Unrolled: with offsets and shifts for constants a sub-block is a handful of vector instructions.
    [&]<int... kSubs>(std::integer_sequence<int, kSubs...>) {
      ((word += to_planes<Block::kBits>(elements<Block, kSubs>(block), word)), ...);
    }
    (std::make_integer_sequence<int, Block::kValues / kBlock>());
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
    for (int sub = 0; sub < Block::kValues / kBlock; ++sub) {
      uint32_t w[8];
      word += from_planes<Block::kBits>(word, w);
      for (int i = 0; i < Planes<Block::kBits>::kCount; ++i) {  // a plane is a field of the file
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
