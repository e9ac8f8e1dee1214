// SPDX-License-Identifier: Apache-2.0
#pragma once

// The products of matmul_ref.cpp, written once for every vector width. V names a register's operations: its file gives
// them in an anonymous namespace, so whatever is instantiated here stays in that file. Lanes are rows of a tile; a tile
// is V::kParts registers wide. Tiles are as engine/quant/blocks.h orders them.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/kernels/kernels.h"

namespace decant::kernels {

#define DECANT_INLINE [[gnu::always_inline]] static inline

/// Runs Kernel::run<N> over the tokens from `first` on: N = kTokens while they last, then half of it, …, 1.
template <class Kernel, int kTokens>
DECANT_INLINE void for_token_groups(const MatmulArgs& a, int tile, int first) {
  for (; a.n_tokens - first >= kTokens; first += kTokens) Kernel::template run<kTokens>(a, tile, first);
  if constexpr (kTokens > 1) for_token_groups<Kernel, kTokens / 2>(a, tile, first);
}

DECANT_INLINE const std::byte* tile_at(const MatmulArgs& a, int tile) {
  return a.tiles + static_cast<size_t>(tile) * a.tile_bytes;
}
DECANT_INLINE float* output_at(const MatmulArgs& a, int tile, int token) {
  return a.y + token * a.y_stride + ptrdiff_t{16} * tile;
}

// Float weights: W::load gives part of a column, 16 rows, as binary32.

template <class V>
struct WeightsF32 {
  static constexpr int kBytes = 64;
  DECANT_INLINE typename V::F load(const std::byte* p, int part) { return V::load_f32(p + part * 4 * V::kLanes); }
};
template <class V>
struct WeightsF16 {
  static constexpr int kBytes = 32;
  DECANT_INLINE typename V::F load(const std::byte* p, int part) { return V::load_f16(p + part * 2 * V::kLanes); }
};
template <class V>
struct WeightsBf16 {
  static constexpr int kBytes = 32;
  DECANT_INLINE typename V::F load(const std::byte* p, int part) { return V::load_bf16(p + part * 2 * V::kLanes); }
};

template <class V, class W, int kTiles>
struct FloatKernel {
  template <int kTokens>
  static void run(const MatmulArgs& a, int tile, int first) {
    using F = typename V::F;
    const std::byte* w[kTiles];
    F acc[kTiles][V::kParts][kTokens];
    for (int i = 0; i < kTiles; ++i) {
      w[i] = tile_at(a, tile + i);
      for (int part = 0; part < V::kParts; ++part) {
        for (int t = 0; t < kTokens; ++t) acc[i][part][t] = V::zero();
      }
    }
    const float* const x = a.x + first * a.x_stride;
    const ptrdiff_t stride = a.x_stride;
    for (ptrdiff_t k = 0; k < a.cols; ++k) {
      F column[kTiles][V::kParts];
      for (int i = 0; i < kTiles; ++i) {
        for (int part = 0; part < V::kParts; ++part) column[i][part] = W::load(w[i], part);
        w[i] += W::kBytes;
      }
      for (int t = 0; t < kTokens; ++t) {
        const F xk = V::set1(x[t * stride + k]);
        for (int i = 0; i < kTiles; ++i) {
          for (int part = 0; part < V::kParts; ++part) acc[i][part][t] = V::fma(column[i][part], xk, acc[i][part][t]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int i = 0; i < kTiles; ++i) {
        for (int part = 0; part < V::kParts; ++part) {
          V::store(output_at(a, tile + i, first + t) + part * V::kLanes, acc[i][part][t]);
        }
      }
    }
  }
};

template <class V, class W>
void float_matmul(const MatmulArgs& a) {
  int tile = 0;
  if (a.n_tokens == 1) {
    // Each output is one chain of fma: several tiles at once hide its latency.
    for (; a.n_tiles - tile >= V::kDecodeTiles; tile += V::kDecodeTiles) {
      FloatKernel<V, W, V::kDecodeTiles>::template run<1>(a, tile, 0);
    }
  } else {
    for (; a.n_tiles - tile >= V::kFloatTiles; tile += V::kFloatTiles) {
      for_token_groups<FloatKernel<V, W, V::kFloatTiles>, V::kFloatTokens>(a, tile, 0);
    }
  }
  for (; tile < a.n_tiles; ++tile) for_token_groups<FloatKernel<V, W, 1>, V::kFloatTokens>(a, tile, 0);
}

// Quantized weights: a format loads 32 elements of each row as unsigned bytes, kOffset too great. w[g] holds elements
// 4g … 4g + 3 of row r in lane r. kMax is the greatest byte. Mins are held negated, ready to be multiplied and added.

enum class Dots { scale, scale_min, two_scales, two_scales_mins };

template <class V>
struct SubTile {
  typename V::I w[8];
  typename V::F scale[2];
  typename V::F negated_min[2];
};

/// Part of the 16 values of two bytes that start at p, as binary32.
template <class V>
DECANT_INLINE typename V::F halves(const std::byte* p, int part) {
  return V::load_f16(p + part * 2 * V::kLanes);
}
/// Part of unit u of the 4-byte units that start at p.
template <class V>
DECANT_INLINE typename V::I unit(const std::byte* p, int u, int part) {
  return V::load(p + u * 64 + part * 4 * V::kLanes);
}
/// Element i of a lane's 4 bytes, the lane being one of an array of such, as an unsigned or a signed integer.
template <class V, int i>
DECANT_INLINE typename V::I byte_of(const typename V::I* words) {
  return V::band(V::template srl<8 * (i % 4)>(words[i / 4]), V::set32(0xFF));
}
template <class V, int i>
DECANT_INLINE typename V::I signed_byte_of(const typename V::I* words) {
  return V::template sra<24>(V::template sll<24 - 8 * (i % 4)>(words[i / 4]));
}
/// Bit `from` of every byte moved to bit `to`, the others cleared.
template <class V, int kFrom, int kTo>
DECANT_INLINE typename V::I move_bit(typename V::I v) {
  const typename V::I mask = V::set8(1 << kTo);
  if constexpr (kFrom > kTo) {
    return V::band(V::template srl<kFrom - kTo>(v), mask);
  } else {
    return V::band(V::template sll<kTo - kFrom>(v), mask);
  }
}
/// 4 units of 8 nibbles: the low ones are elements 0 … 15, the high ones 16 … 31.
template <class V>
DECANT_INLINE void load_nibbles(const std::byte* p, int part, typename V::I* w) {
  const typename V::I mask = V::set8(0x0F);
  for (int g = 0; g < 4; ++g) {
    const typename V::I v = unit<V>(p, g, part);
    w[g] = V::band(v, mask);
    w[4 + g] = V::band(V::template srl<4>(v), mask);
  }
}
/// Adds bit k of a lane of `fifth` to element k as its bit 4.
template <class V>
DECANT_INLINE void add_fifth_bits(typename V::I fifth, typename V::I* w) {
  // A nibble times 1 + 2^7 + 2^14 + 2^21 has its bits at the ends of four bytes.
  const typename V::I spread = V::set32(0x00204081 << 4), mask = V::set8(0x10), nibble = V::set32(0x0F);
  const auto add = [&]<int... g>(std::integer_sequence<int, g...>) __attribute__((always_inline)) {
    ((w[g] = V::bor(w[g], V::band(V::mul32(V::band(V::template srl<4 * g>(fifth), nibble), spread), mask))), ...);
  };
  add(std::make_integer_sequence<int, 8>{});
}
/// Levels of IQ4_NL and IQ4_XS, 128 too great.
template <class V>
DECANT_INLINE void look_up_levels(typename V::I* w) {
  const typename V::I levels = V::table(1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241);
  for (int g = 0; g < 8; ++g) w[g] = V::look_up(levels, w[g]);
}

template <class V>
struct TileQ8_0 {
  static constexpr int kSubs = 1, kBytes = 16 * 34, kMax = 255, kOffset = 128;
  static constexpr Dots kDots = Dots::scale;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    for (int g = 0; g < 8; ++g) s.w[g] = V::bxor(unit<V>(p + 32, g, part), V::set8(0x80));
  }
};

template <class V>
struct TileQ4_0 {
  static constexpr int kSubs = 1, kBytes = 16 * 18, kMax = 15, kOffset = 8;
  static constexpr Dots kDots = Dots::scale;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    load_nibbles<V>(p + 32, part, s.w);
  }
};

template <class V>
struct TileQ4_1 {
  static constexpr int kSubs = 1, kBytes = 16 * 20, kMax = 15, kOffset = 0;
  static constexpr Dots kDots = Dots::scale_min;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    s.negated_min[0] = halves<V>(p + 32, part);
    load_nibbles<V>(p + 64, part, s.w);
  }
};

template <class V>
struct TileQ5_0 {
  static constexpr int kSubs = 1, kBytes = 16 * 22, kMax = 31, kOffset = 16;
  static constexpr Dots kDots = Dots::scale;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    load_nibbles<V>(p + 96, part, s.w);
    add_fifth_bits<V>(unit<V>(p + 32, 0, part), s.w);
  }
};

template <class V>
struct TileQ5_1 {
  static constexpr int kSubs = 1, kBytes = 16 * 24, kMax = 31, kOffset = 0;
  static constexpr Dots kDots = Dots::scale_min;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    s.negated_min[0] = halves<V>(p + 32, part);
    load_nibbles<V>(p + 128, part, s.w);
    add_fifth_bits<V>(unit<V>(p + 64, 0, part), s.w);
  }
};

template <class V>
struct TileIq4Nl {
  static constexpr int kSubs = 1, kBytes = 16 * 18, kMax = 255, kOffset = 128;
  static constexpr Dots kDots = Dots::scale;
  struct Header {};
  DECANT_INLINE Header header(const std::byte* /*p*/, int /*part*/) { return {}; }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& /*h*/, SubTile<V>& s) {
    s.scale[0] = halves<V>(p, part);
    load_nibbles<V>(p + 32, part, s.w);
    look_up_levels<V>(s.w);
  }
};

template <class V>
struct TileIq4Xs {
  static constexpr int kSubs = 8, kBytes = 16 * 136, kMax = 255, kOffset = 128;
  static constexpr Dots kDots = Dots::scale;
  struct Header {
    typename V::F d;
    typename V::I low, high;
  };
  DECANT_INLINE Header header(const std::byte* p, int part) {
    return {halves<V>(p, part), unit<V>(p + 64, 0, part), V::load_u16(p + 32 + part * 2 * V::kLanes)};
  }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    const typename V::I low = V::band(V::template srl<4 * kSub>(h.low), V::set32(15));
    const typename V::I high = V::band(V::template srl<2 * kSub>(h.high), V::set32(3));
    const typename V::I six_bits = V::bor(low, V::template sll<4>(high));
    s.scale[0] = V::mul(h.d, V::to_float(V::sub32(six_bits, V::set32(32))));
    load_nibbles<V>(p + 128 + 256 * kSub, part, s.w);
    look_up_levels<V>(s.w);
  }
};

/// d, −dmin, and scales and mins of 6 bits in the bytes of two words each: Q4_K and Q5_K.
template <class V>
struct ScaleMinHeader {
  typename V::F d, negated_dmin;
  typename V::I scales[2], mins[2];
};
template <class V>
DECANT_INLINE ScaleMinHeader<V> load_scale_mins(const std::byte* p, int part) {
  const typename V::I u0 = unit<V>(p + 64, 0, part), u1 = unit<V>(p + 64, 1, part), u2 = unit<V>(p + 64, 2, part);
  const typename V::I six = V::set8(0x3F), four = V::set8(0x0F), top = V::set8(0x30);
  ScaleMinHeader<V> h;
  h.d = halves<V>(p, part);
  h.negated_dmin = V::negate(halves<V>(p + 32, part));
  h.scales[0] = V::band(u0, six);
  h.mins[0] = V::band(u1, six);
  h.scales[1] = V::bor(V::band(u2, four), V::band(V::template srl<2>(u0), top));
  h.mins[1] = V::bor(V::band(V::template srl<4>(u2), four), V::band(V::template srl<2>(u1), top));
  return h;
}
template <class V, int kSub>
DECANT_INLINE void set_scale_min(const ScaleMinHeader<V>& h, SubTile<V>& s) {
  s.scale[0] = V::mul(h.d, V::to_float(byte_of<V, kSub>(h.scales)));
  s.negated_min[0] = V::mul(h.negated_dmin, V::to_float(byte_of<V, kSub>(h.mins)));
}

template <class V>
struct TileQ4K {
  static constexpr int kSubs = 8, kBytes = 16 * 144, kMax = 15, kOffset = 0;
  static constexpr Dots kDots = Dots::scale_min;
  using Header = ScaleMinHeader<V>;
  DECANT_INLINE Header header(const std::byte* p, int part) { return load_scale_mins<V>(p, part); }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    set_scale_min<V, kSub>(h, s);
    for (int g = 0; g < 8; ++g) {
      const typename V::I v = unit<V>(p + 256, 8 * (kSub / 2) + g, part);
      s.w[g] = V::band(V::template srl<4 * (kSub % 2)>(v), V::set8(0x0F));
    }
  }
};

template <class V>
struct TileQ5K {
  static constexpr int kSubs = 8, kBytes = 16 * 176, kMax = 31, kOffset = 0;
  static constexpr Dots kDots = Dots::scale_min;
  using Header = ScaleMinHeader<V>;
  DECANT_INLINE Header header(const std::byte* p, int part) { return load_scale_mins<V>(p, part); }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    set_scale_min<V, kSub>(h, s);
    for (int g = 0; g < 8; ++g) {
      const typename V::I v = unit<V>(p + 768, 8 * (kSub / 2) + g, part);
      const typename V::I four = V::band(V::template srl<4 * (kSub % 2)>(v), V::set8(0x0F));
      s.w[g] = V::bor(four, move_bit<V, kSub, 4>(unit<V>(p + 256, g, part)));
    }
  }
};

template <class V>
struct TileQ6K {
  static constexpr int kSubs = 8, kBytes = 16 * 210, kMax = 63, kOffset = 32;
  static constexpr Dots kDots = Dots::two_scales;
  struct Header {
    typename V::F d;
    typename V::I scales[4];
  };
  DECANT_INLINE Header header(const std::byte* p, int part) {
    return {halves<V>(p, part),
            {unit<V>(p + 32, 0, part), unit<V>(p + 32, 1, part), unit<V>(p + 32, 2, part), unit<V>(p + 32, 3, part)}};
  }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    constexpr int j = kSub % 4;
    s.scale[0] = V::mul(h.d, V::to_float(signed_byte_of<V, 2 * kSub>(h.scales)));
    s.scale[1] = V::mul(h.d, V::to_float(signed_byte_of<V, 2 * kSub + 1>(h.scales)));
    for (int g = 0; g < 8; ++g) {
      // 128 elements are 8 units of low bits, 8 of high ones, 8 of low ones.
      const typename V::I low = unit<V>(p + 288, 24 * (kSub / 4) + 16 * (j % 2) + g, part);
      const typename V::I high = unit<V>(p + 288, 24 * (kSub / 4) + 8 + g, part);
      const typename V::I four = V::band(V::template srl<4 * (j / 2)>(low), V::set8(0x0F));
      typename V::I two;
      if constexpr (j < 3) {
        two = V::template sll<4 - 2 * j>(high);
      } else {
        two = V::template srl<2>(high);
      }
      s.w[g] = V::bor(four, V::band(two, V::set8(0x30)));
    }
  }
};

template <class V>
struct TileQ3K {
  static constexpr int kSubs = 8, kBytes = 16 * 110, kMax = 7, kOffset = 4;
  static constexpr Dots kDots = Dots::two_scales;
  struct Header {
    typename V::F d;
    typename V::I scales[4];
  };
  DECANT_INLINE Header header(const std::byte* p, int part) {
    const typename V::I u0 = unit<V>(p + 32, 0, part), u1 = unit<V>(p + 32, 1, part), u2 = unit<V>(p + 32, 2, part);
    const typename V::I four = V::set8(0x0F), top = V::set8(0x30);
    return {halves<V>(p, part),
            {V::bor(V::band(u0, four), V::band(V::template sll<4>(u2), top)),
             V::bor(V::band(u1, four), V::band(V::template sll<2>(u2), top)),
             V::bor(V::band(V::template srl<4>(u0), four), V::band(u2, top)),
             V::bor(V::band(V::template srl<4>(u1), four), V::band(V::template srl<2>(u2), top))}};
  }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    const typename V::I middle = V::set32(32);
    s.scale[0] = V::mul(h.d, V::to_float(V::sub32(byte_of<V, 2 * kSub>(h.scales), middle)));
    s.scale[1] = V::mul(h.d, V::to_float(V::sub32(byte_of<V, 2 * kSub + 1>(h.scales), middle)));
    for (int g = 0; g < 8; ++g) {
      const typename V::I v = unit<V>(p + 736, 8 * (kSub / 4) + g, part);
      const typename V::I two = V::band(V::template srl<2 * (kSub % 4)>(v), V::set8(0x03));
      s.w[g] = V::bor(two, move_bit<V, kSub, 2>(unit<V>(p + 224, g, part)));
    }
  }
};

template <class V>
struct TileQ2K {
  static constexpr int kSubs = 8, kBytes = 16 * 84, kMax = 3, kOffset = 0;
  static constexpr Dots kDots = Dots::two_scales_mins;
  struct Header {
    typename V::F d, negated_dmin;
    typename V::I scales[4], mins[4];
  };
  DECANT_INLINE Header header(const std::byte* p, int part) {
    Header h;
    h.d = halves<V>(p, part);
    h.negated_dmin = V::negate(halves<V>(p + 32, part));
    for (int i = 0; i < 4; ++i) {
      const typename V::I v = unit<V>(p + 64, i, part);
      h.scales[i] = V::band(v, V::set8(0x0F));
      h.mins[i] = V::band(V::template srl<4>(v), V::set8(0x0F));
    }
    return h;
  }
  template <int kSub>
  DECANT_INLINE void load(const std::byte* p, int part, const Header& h, SubTile<V>& s) {
    s.scale[0] = V::mul(h.d, V::to_float(byte_of<V, 2 * kSub>(h.scales)));
    s.scale[1] = V::mul(h.d, V::to_float(byte_of<V, 2 * kSub + 1>(h.scales)));
    s.negated_min[0] = V::mul(h.negated_dmin, V::to_float(byte_of<V, 2 * kSub>(h.mins)));
    s.negated_min[1] = V::mul(h.negated_dmin, V::to_float(byte_of<V, 2 * kSub + 1>(h.mins)));
    for (int g = 0; g < 8; ++g) {
      const typename V::I v = unit<V>(p + 320, 8 * (kSub / 4) + g, part);
      s.w[g] = V::band(V::template srl<2 * (kSub % 4)>(v), V::set8(0x03));
    }
  }
};

/// A pair of 16-bit factors for the two sums of a block of 32 activations, in every lane.
template <class V>
DECANT_INLINE typename V::I sum_factors(int first, int second) {
  return V::set32(static_cast<int32_t>((static_cast<uint32_t>(first) & 0xFFFFU) | static_cast<uint32_t>(second) << 16));
}

/// block_dot() of the reference. sums: the two sums of q, in every lane.
template <class V, class T>
DECANT_INLINE typename V::F sub_tile_dot(const SubTile<V>& s, const int8_t* q, typename V::I sums) {
  using F = typename V::F;
  constexpr int o = -T::kOffset;
  F t;
  if constexpr (T::kDots == Dots::scale || T::kDots == Dots::scale_min) {
    t = V::mul(V::to_float(V::template dot<T::kMax, 8>(s.w, q, sums, sum_factors<V>(o, o))), s.scale[0]);
    if constexpr (T::kDots == Dots::scale_min) {
      t = V::fma(V::to_float(V::madd(sums, sum_factors<V>(1, 1))), s.negated_min[0], t);
    }
  } else {
    t = V::mul(V::to_float(V::template dot<T::kMax, 4>(s.w, q, sums, sum_factors<V>(o, 0))), s.scale[0]);
    t = V::fma(V::to_float(V::template dot<T::kMax, 4>(s.w + 4, q + 16, sums, sum_factors<V>(0, o))), s.scale[1], t);
    if constexpr (T::kDots == Dots::two_scales_mins) {
      t = V::fma(V::to_float(V::madd(sums, sum_factors<V>(1, 0))), s.negated_min[0], t);
      t = V::fma(V::to_float(V::madd(sums, sum_factors<V>(0, 1))), s.negated_min[1], t);
    }
  }
  return t;
}

template <class V, class T, int kTiles>
struct QuantizedKernel {
  template <int kTokens>
  static void run(const MatmulArgs& a, int tile, int first) {
    using F = typename V::F;
    const std::byte* p[kTiles];
    F acc[kTiles][V::kParts][kTokens];
    for (int i = 0; i < kTiles; ++i) {
      p[i] = tile_at(a, tile + i);
      for (int part = 0; part < V::kParts; ++part) {
        for (int t = 0; t < kTokens; ++t) acc[i][part][t] = V::zero();
      }
    }
    const int8_t* q = a.q + first * a.q_stride;
    const float* d = a.d + first * a.d_stride;
    const int16_t* sums = a.sums + first * a.sums_stride;
    for (int b = a.cols / (32 * T::kSubs); b > 0; --b) {
      for (int i = 0; i < kTiles; ++i) {
        for (int part = 0; part < V::kParts; ++part) {
          const typename T::Header header = T::header(p[i], part);
          const auto sub_block = [&]<int kSub>() __attribute__((always_inline)) {
            SubTile<V> s;
            T::template load<kSub>(p[i], part, header, s);
            for (int t = 0; t < kTokens; ++t) {
              const typename V::I both = V::set_pair(sums + t * a.sums_stride + 2 * kSub);
              const F dot = sub_tile_dot<V, T>(s, q + t * a.q_stride + 32 * kSub, both);
              acc[i][part][t] = V::fma(dot, V::set1(d[t * a.d_stride + kSub]), acc[i][part][t]);
            }
          };
          [&]<int... kSub>(std::integer_sequence<int, kSub...>) __attribute__((always_inline)) {
            (sub_block.template operator()<kSub>(), ...);
          }
          (std::make_integer_sequence<int, T::kSubs>{});
        }
        p[i] += T::kBytes;
      }
      q += 32 * T::kSubs;
      d += T::kSubs;
      sums += 2 * T::kSubs;
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int i = 0; i < kTiles; ++i) {
        for (int part = 0; part < V::kParts; ++part) {
          V::store(output_at(a, tile + i, first + t) + part * V::kLanes, acc[i][part][t]);
        }
      }
    }
  }
};

template <class V, class T>
void quantized_matmul(const MatmulArgs& a) {
  int tile = 0;
  if constexpr (T::kSubs == 1) {
    if (a.n_tokens == 1) {
      // Memory delivers more to a few streams than to one.
      for (; a.n_tiles - tile >= V::kDecodeTiles; tile += V::kDecodeTiles) {
        QuantizedKernel<V, T, V::kDecodeTiles>::template run<1>(a, tile, 0);
      }
    }
  }
  for (; tile < a.n_tiles; ++tile) for_token_groups<QuantizedKernel<V, T, 1>, V::kQuantizedTokens>(a, tile, 0);
}

#undef DECANT_INLINE

}  // namespace decant::kernels
