// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/encode.h"

#include <cmath>
#include <cstring>

#include "decant/detail/half.h"

#include "engine/quant/blocks.h"

namespace decant::quant {
namespace {

void store(std::byte* p, uint16_t value) { std::memcpy(p, &value, sizeof value); }
void store(std::byte* p, uint32_t value) { std::memcpy(p, &value, sizeof value); }
void store_f16(std::byte* p, float value) { store(p, detail::f32_to_f16(value)); }

float inverse(float d) { return d != 0.0F ? 1.0F / d : 0.0F; }

/// Truncates to [0, most]; a NaN gives 0.
template <typename Float>
unsigned truncate(Float value, unsigned most) {
  if (!(value > 0)) return 0;
  return value >= static_cast<Float>(most) ? most : static_cast<unsigned>(value);
}

/// The element of greatest magnitude, the first of several.
float signed_max(const float* in) {
  float max = 0.0F;
  for (int i = 0; i < kBlock; ++i) {
    if (std::fabs(in[i]) > std::fabs(max)) max = in[i];
  }
  return max;
}

struct Range {
  float min, max;
};
Range range(const float* in) {
  Range r{in[0], in[0]};
  for (int i = 1; i < kBlock; ++i) {
    if (in[i] < r.min) r.min = in[i];
    if (in[i] > r.max) r.max = in[i];
  }
  return r;
}

/// Levels 0 … 2·half − 1 around `half`; the element of greatest magnitude becomes level 0.
/// x·id + (half + 0.5) in binary64 is what ggml computes where its compiler fuses the two operations.
void symmetric_levels(const float* in, int half, std::byte* scale, unsigned* levels) {
  const float d = signed_max(in) / static_cast<float>(-half);
  const float id = inverse(d);
  store_f16(scale, d);
  for (int i = 0; i < kBlock; ++i) {
    const double level = static_cast<double>(in[i]) * static_cast<double>(id) + (half + 0.5);
    levels[i] = truncate(level, static_cast<unsigned>(2 * half - 1));
  }
}

/// Levels 0 … most from the least to the greatest element.
void ranged_levels(const float* in, unsigned most, std::byte* scale_and_min, unsigned* levels) {
  const Range r = range(in);
  const float d = (r.max - r.min) / static_cast<float>(most);
  const float id = inverse(d);
  store_f16(scale_and_min, d);
  store_f16(scale_and_min + 2, r.min);
  for (int i = 0; i < kBlock; ++i) levels[i] = truncate((in[i] - r.min) * id + 0.5F, most);
}

void store_nibbles(const unsigned* levels, std::byte* q) {
  for (int i = 0; i < 16; ++i) q[i] = static_cast<std::byte>((levels[i] & 15U) | (levels[16 + i] & 15U) << 4);
}

void store_fifth_bits(const unsigned* levels, std::byte* fifth) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= (levels[i] >> 4) << i;
  store(fifth, bits);
}

}  // namespace

void encode_f32(const float* in, int n, std::byte* row) {
  if (n > 0) std::memcpy(row, in, static_cast<size_t>(n) * sizeof(float));
}

void encode_f16(const float* in, int n, std::byte* row) {
  for (ptrdiff_t i = 0; i < n; ++i) store(row + 2 * i, detail::f32_to_f16(in[i]));
}

void encode_bf16(const float* in, int n, std::byte* row) {
  for (ptrdiff_t i = 0; i < n; ++i) store(row + 2 * i, detail::f32_to_bf16(in[i]));
}

void encode_q8_0(const float* in, int n, std::byte* row) {
  for (; n > 0; n -= kBlock, in += kBlock, row += BlockQ8_0::kBytes) {
    const float d = std::fabs(signed_max(in)) / 127.0F;
    const float id = inverse(d);
    store_f16(row, d);
    for (int i = 0; i < kBlock; ++i) {
      const float level = std::round(in[i] * id);  // half away from zero
      const bool in_range = level >= -127.0F && level <= 127.0F;
      row[2 + i] = static_cast<std::byte>(in_range ? static_cast<int>(level) : 0);
    }
  }
}

void encode_q4_0(const float* in, int n, std::byte* row) {
  unsigned levels[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, row += BlockQ4_0::kBytes) {
    symmetric_levels(in, 8, row, levels);
    store_nibbles(levels, row + 2);
  }
}

void encode_q4_1(const float* in, int n, std::byte* row) {
  unsigned levels[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, row += BlockQ4_1::kBytes) {
    ranged_levels(in, 15, row, levels);
    store_nibbles(levels, row + 4);
  }
}

void encode_q5_0(const float* in, int n, std::byte* row) {
  unsigned levels[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, row += BlockQ5_0::kBytes) {
    symmetric_levels(in, 16, row, levels);
    store_fifth_bits(levels, row + 2);
    store_nibbles(levels, row + 6);
  }
}

void encode_q5_1(const float* in, int n, std::byte* row) {
  unsigned levels[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, row += BlockQ5_1::kBytes) {
    ranged_levels(in, 31, row, levels);
    store_fifth_bits(levels, row + 4);
    store_nibbles(levels, row + 8);
  }
}

}  // namespace decant::quant
