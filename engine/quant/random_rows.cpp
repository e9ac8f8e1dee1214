// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/random_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "decant/detail/half.h"

namespace decant::quant {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15U;

/// The output function of SplitMix64 (Steele, Lea & Flood 2014): word i of a stream is mix(key + i · kGolden).
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

void fill_random(uint64_t key, std::span<std::byte> out) {
  size_t i = 0;
  uint64_t counter = key;
  for (; i + 8 <= out.size(); i += 8) {
    const uint64_t word = mix(counter += kGolden);
    std::memcpy(out.data() + i, &word, 8);
  }
  const uint64_t last = mix(counter + kGolden);
  std::memcpy(out.data() + i, &last, out.size() - i);
}

// −128 is no code of Q8_0's encoder.
void tidy_q8_0(std::byte* block) {
  for (int i = 2; i < 34; ++i)
    if (block[i] == std::byte{0x80}) block[i] = std::byte{0x81};
}

// Scales from 8 to 15, each with an equal min: with dmin = 1.5 d the mean of the four codes is 0.
void tidy_q2_k(std::byte* block) {
  for (int i = 0; i < 16; ++i) {
    const std::byte scale = (block[i] & std::byte{7}) | std::byte{8};
    block[i] = scale | scale << 4;
  }
}

// Six-bit scales from 32 to 63, each with an equal min, in the twelve bytes that Q4_K and Q5_K share.
void tidy_k_scales(std::byte* block) {
  std::byte* const packed = block + 4;
  for (int i = 0; i < 4; ++i) {
    const std::byte scale = (packed[i] & std::byte{31}) | std::byte{32};
    const std::byte later = (packed[8 + i] & std::byte{31}) | std::byte{32};
    packed[i] = packed[4 + i] = scale | later >> 4 << 6;
    packed[8 + i] = (later & std::byte{15}) | later << 4;
  }
}

/// What random bytes in a block's codes amount to.
struct BlockSpread {
  DType type;
  int scale_at;         ///< byte of the block's binary16 scale
  int min_at;           ///< and of its min; -1: none
  double unit;          ///< root mean square of the values where the scale is 1
  double min_of_scale;  ///< min that makes the mean 0, where the scale is 1
  bool signed_scale;    ///< codes that are not centred take a scale of either sign instead
  void (*tidy)(std::byte* block);
};

constexpr BlockSpread kSpreads[] = {
    {DType::q8_0, 0, -1, 73.3, 0.0, true, tidy_q8_0},
    {DType::q4_0, 0, -1, 4.637, 0.0, true, nullptr},
    {DType::q4_1, 0, 2, 4.610, -7.5, false, nullptr},
    {DType::q5_0, 0, -1, 9.247, 0.0, true, nullptr},
    {DType::q5_1, 0, 2, 9.233, -15.5, false, nullptr},
    {DType::q2_k, 80, 82, 1.118 * 11.73, 1.5, false, tidy_q2_k},
    {DType::q3_k, 108, -1, 2.345 * 18.48, 0.0, true, nullptr},
    {DType::q4_k, 0, 2, 4.610 * 48.39, 7.5, false, tidy_k_scales},
    {DType::q5_k, 0, 2, 9.233 * 48.39, 15.5, false, tidy_k_scales},
    {DType::q6_k, 208, -1, 18.48 * 73.9, 0.0, true, nullptr},
    {DType::iq4_nl, 0, -1, 67.44, 0.0, true, nullptr},
    {DType::iq4_xs, 0, -1, 18.48 * 67.44, 0.0, true, nullptr},
};

const BlockSpread* find_spread(DType type) {
  const auto* const found = std::find_if(std::begin(kSpreads), std::end(kSpreads),
                                         [type](const BlockSpread& row) { return row.type == type; });
  return found == std::end(kSpreads) ? nullptr : found;
}

}  // namespace

RandomRows::RandomRows(DType type, int64_t cols, Spread spread, uint64_t key)
    : format_(format(type)), row_bytes_(quant::row_bytes(format_, cols)), spread_(spread), key_(key) {
  const BlockSpread* const row = find_spread(type);
  if (row == nullptr) return;
  for (size_t i = 0; i < scales_.size(); ++i) {
    const double magnitude = spread.deviation / row->unit * (0.75 + 0.5 * static_cast<double>(i) / 15.0);
    const double scale = row->signed_scale && i % 2 == 1 ? -magnitude : magnitude;
    scales_[i] = detail::f32_to_f16(static_cast<float>(scale));
    mins_[i] = detail::f32_to_f16(static_cast<float>(scale * row->min_of_scale));
  }
}

void RandomRows::fill(int64_t row, std::span<std::byte> out) const {
  const uint64_t key = mix(key_ + static_cast<uint64_t>(row) * kGolden);
  format_.quantized ? fill_blocks(key, out) : fill_floats(key, out);
}

/// Uniform around the mean.
void RandomRows::fill_floats(uint64_t key, std::span<std::byte> out) const {
  constexpr int kChunk = 256;
  const auto element = static_cast<size_t>(format_.block_bytes);
  const auto mean = static_cast<float>(spread_.mean);
  const auto step = static_cast<float>(spread_.deviation * std::sqrt(3.0) / 2147483648.0);
  int32_t random[kChunk];
  float values[kChunk];
  for (size_t done = 0; done < out.size(); key += kGolden * kChunk) {
    const size_t n = std::min<size_t>(kChunk, (out.size() - done) / element);
    fill_random(key, std::as_writable_bytes(std::span(random)));
    for (size_t i = 0; i < n; ++i) values[i] = mean + static_cast<float>(random[i]) * step;
    format_.encode_row(values, static_cast<int>(n), out.data() + done);
    done += n * element;
  }
}

void RandomRows::fill_blocks(uint64_t key, std::span<std::byte> out) const {
  const BlockSpread& spread = *find_spread(format_.type);
  fill_random(key, out);
  for (size_t at = 0; at < out.size(); at += static_cast<size_t>(format_.block_bytes)) {
    std::byte* const block = out.data() + at;
    const size_t chosen = std::to_integer<size_t>(block[spread.scale_at] & std::byte{15});
    std::memcpy(block + spread.scale_at, &scales_[chosen], 2);
    if (spread.min_at >= 0) std::memcpy(block + spread.min_at, &mins_[chosen], 2);
    if (spread.tidy != nullptr) spread.tidy(block);
  }
}

}  // namespace decant::quant
