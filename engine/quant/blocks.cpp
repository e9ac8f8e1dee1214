// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/blocks.h"

#include "decant/detail/half.h"

namespace decant::quant {
namespace {

unsigned u8(const std::byte* p, int i) { return std::to_integer<unsigned>(p[i]); }
uint16_t u16(const std::byte* p) { return static_cast<uint16_t>(u8(p, 0) | u8(p, 1) << 8); }
uint32_t u32(const std::byte* p) { return u8(p, 0) | u8(p, 1) << 8 | u8(p, 2) << 16 | u8(p, 3) << 24; }
int i8(const std::byte* p, int i) { return static_cast<int8_t>(u8(p, i)); }
float f16(const std::byte* p) { return detail::f16_to_f32(u16(p)); }
int8_t narrow(int value) { return static_cast<int8_t>(value); }

void set_scale(SubBlock* out, float scale, float min = 0.0F) {
  out->scale[0] = out->scale[1] = scale;
  out->min[0] = out->min[1] = min;
}

/// 16 bytes of two elements each: i and 16 + i.
void unpack_nibbles(const std::byte* q, int offset, int8_t* w) {
  for (int i = 0; i < 16; ++i) {
    w[i] = narrow(static_cast<int>(u8(q, i) & 15U) - offset);
    w[16 + i] = narrow(static_cast<int>(u8(q, i) >> 4) - offset);
  }
}

void unpack_five_bits(const std::byte* q, uint32_t fifth, int offset, int8_t* w) {
  unpack_nibbles(q, offset, w);
  for (int i = 0; i < kBlock; ++i) w[i] = narrow(w[i] + static_cast<int>((fifth >> i & 1U) << 4));
}

/// Levels of IQ4_NL and IQ4_XS.
constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void unpack_levels(const std::byte* q, int8_t* w) {
  unpack_nibbles(q, 0, w);
  for (int i = 0; i < kBlock; ++i) w[i] = kIq4Levels[w[i]];
}

struct ScaleMin {
  unsigned scale, min;
};
/// Scale and min of a sub-block of Q4_K and Q5_K: eight of each, six bits wide, in twelve bytes.
ScaleMin k_scale_min(const std::byte* packed, int sub) {
  if (sub < 4) return {u8(packed, sub) & 63U, u8(packed, sub + 4) & 63U};
  return {(u8(packed, sub + 4) & 15U) | (u8(packed, sub - 4) >> 6) << 4,
          u8(packed, sub + 4) >> 4 | (u8(packed, sub) >> 6) << 4};
}

void set_k_scale_min(const std::byte* block, int sub, SubBlock* out) {
  const ScaleMin sm = k_scale_min(block + 4, sub);
  set_scale(out, f16(block) * static_cast<float>(sm.scale), f16(block + 2) * static_cast<float>(sm.min));
}

}  // namespace

void BlockQ8_0::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block));
  for (int i = 0; i < kBlock; ++i) out->w[i] = narrow(i8(block, 2 + i));
}

void BlockQ4_0::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block));
  unpack_nibbles(block + 2, 8, out->w);
}

// Q4_1 and Q5_1 add m, which is to subtract −m.
void BlockQ4_1::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block), -f16(block + 2));
  unpack_nibbles(block + 4, 0, out->w);
}

void BlockQ5_0::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block));
  unpack_five_bits(block + 6, u32(block + 2), 16, out->w);
}

void BlockQ5_1::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block), -f16(block + 2));
  unpack_five_bits(block + 8, u32(block + 4), 0, out->w);
}

void BlockIq4Nl::unpack(const std::byte* block, int /*sub*/, SubBlock* out) {
  set_scale(out, f16(block));
  unpack_levels(block + 2, out->w);
}

void BlockQ2K::unpack(const std::byte* block, int sub, SubBlock* out) {
  const float d = f16(block + 80);
  const float dmin = f16(block + 82);
  for (int half = 0; half < 2; ++half) {
    const unsigned packed = u8(block, 2 * sub + half);
    out->scale[half] = d * static_cast<float>(packed & 15U);
    out->min[half] = dmin * static_cast<float>(packed >> 4);
  }
  const std::byte* const q = block + 16 + 32 * (sub / 4);
  const int shift = 2 * (sub % 4);
  for (int i = 0; i < kBlock; ++i) out->w[i] = narrow(static_cast<int>(u8(q, i) >> shift & 3U));
}

void BlockQ3K::unpack(const std::byte* block, int sub, SubBlock* out) {
  const float d = f16(block + 108);
  const std::byte* const packed = block + 96;
  for (int half = 0; half < 2; ++half) {
    const int i = 2 * sub + half;
    const unsigned low = i < 8 ? u8(packed, i) & 15U : u8(packed, i - 8) >> 4;
    const unsigned high = u8(packed, 8 + i % 4) >> (2 * (i / 4)) & 3U;
    out->scale[half] = d * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    out->min[half] = 0.0F;
  }
  const std::byte* const q = block + 32 + 32 * (sub / 4);
  const int shift = 2 * (sub % 4);
  for (int i = 0; i < kBlock; ++i) {
    const unsigned third = u8(block, i) >> sub & 1U;
    out->w[i] = narrow(static_cast<int>((u8(q, i) >> shift & 3U) | third << 2) - 4);
  }
}

void BlockQ4K::unpack(const std::byte* block, int sub, SubBlock* out) {
  set_k_scale_min(block, sub, out);
  const std::byte* const q = block + 16 + 32 * (sub / 2);
  const int shift = 4 * (sub % 2);
  for (int i = 0; i < kBlock; ++i) out->w[i] = narrow(static_cast<int>(u8(q, i) >> shift & 15U));
}

void BlockQ5K::unpack(const std::byte* block, int sub, SubBlock* out) {
  set_k_scale_min(block, sub, out);
  const std::byte* const q = block + 48 + 32 * (sub / 2);
  const int shift = 4 * (sub % 2);
  for (int i = 0; i < kBlock; ++i) {
    const unsigned fifth = u8(block, 16 + i) >> sub & 1U;
    out->w[i] = narrow(static_cast<int>((u8(q, i) >> shift & 15U) | fifth << 4));
  }
}

void BlockQ6K::unpack(const std::byte* block, int sub, SubBlock* out) {
  const float d = f16(block + 208);
  for (int half = 0; half < 2; ++half) {
    out->scale[half] = d * static_cast<float>(i8(block, 192 + 2 * sub + half));
    out->min[half] = 0.0F;
  }
  const int j = sub % 4;  // of 128 elements, which lie in 64 bytes of low and 32 bytes of high bits
  const std::byte* const low = block + 64 * (sub / 4) + 32 * (j % 2);
  const std::byte* const high = block + 128 + 32 * (sub / 4);
  for (int i = 0; i < kBlock; ++i) {
    const unsigned value = (u8(low, i) >> (4 * (j / 2)) & 15U) | (u8(high, i) >> (2 * j) & 3U) << 4;
    out->w[i] = narrow(static_cast<int>(value) - 32);
  }
}

void BlockIq4Xs::unpack(const std::byte* block, int sub, SubBlock* out) {
  const unsigned low = u8(block, 4 + sub / 2) >> (4 * (sub % 2)) & 15U;
  const unsigned high = static_cast<unsigned>(u16(block + 2)) >> (2 * sub) & 3U;
  set_scale(out, f16(block) * static_cast<float>(static_cast<int>(low | high << 4) - 32));
  unpack_levels(block + 8 + 16 * sub, out->w);
}

}  // namespace decant::quant
