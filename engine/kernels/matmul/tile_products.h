// SPDX-License-Identifier: Apache-2.0
#pragma once

// The products of matmul_ref.cpp, written once for every vector width. V names a register's operations: its file gives
// them in an anonymous namespace, so whatever is instantiated here stays in that file. Lanes are rows of a tile; a tile
// is V::kParts registers wide. Tiles are as engine/quant/blocks.h orders them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/kernels/kernels.h"

namespace decant::kernels {

#define DECANT_INLINE [[gnu::always_inline]] static inline

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

/// One token: each output is one chain of fma, so several tiles at once hide its latency.
template <class V, class W, int kTiles>
void float_tiles(const MatmulArgs& a, int tile) {
  typename V::F acc[kTiles][V::kParts];
  const std::byte* w = tile_at(a, tile);
  for (int i = 0; i < kTiles; ++i) {
    for (int part = 0; part < V::kParts; ++part) acc[i][part] = V::zero();
  }
  for (ptrdiff_t k = 0; k < a.cols; ++k, w += W::kBytes) {
    const typename V::F xk = V::set1(a.x[k]);
    for (int i = 0; i < kTiles; ++i) {
      for (int part = 0; part < V::kParts; ++part) {
        acc[i][part] = V::fma(W::load(w + static_cast<size_t>(i) * a.tile_bytes, part), xk, acc[i][part]);
      }
    }
  }
  for (int i = 0; i < kTiles; ++i) {
    for (int part = 0; part < V::kParts; ++part) V::store(output_at(a, tile + i, 0) + part * V::kLanes, acc[i][part]);
  }
}

constexpr int kFloatRun = 128;  ///< columns that some tokens are turned into [column][token] for: they stay in the L1

/// Columns [k, k + n) of kTiles tiles and kTokens tokens, whose activations are x [n][kTokens]. Sums lie in y between
/// runs of columns; the first run begins them.
template <class V, class W, int kTiles, int kTokens>
void float_run(const MatmulArgs& a, int tile, int first, const float* x, int k, int n) {
  using F = typename V::F;
  F acc[kTiles][V::kParts][kTokens];
  const auto for_sums = [&](auto f) __attribute__((always_inline)) {
    for (int t = 0; t < kTokens; ++t) {
      for (int i = 0; i < kTiles; ++i) {
        float* const y = output_at(a, tile + i, first + t);
        for (int part = 0; part < V::kParts; ++part) f(acc[i][part][t], y + part * V::kLanes);
      }
    }
  };
  if (k == 0) {
    for_sums([](F & sum, const float*) __attribute__((always_inline)) { sum = V::zero(); });
  } else {
    for_sums([](F & sum, const float* y) __attribute__((always_inline)) { sum = V::load_f32(y); });
  }
  const std::byte* w = tile_at(a, tile) + static_cast<size_t>(k) * W::kBytes;
  for (int end = k + n; k < end; ++k, w += W::kBytes, x += kTokens) {
    F column[kTiles][V::kParts];
    for (int i = 0; i < kTiles; ++i) {
      for (int part = 0; part < V::kParts; ++part) {
        column[i][part] = W::load(w + static_cast<size_t>(i) * a.tile_bytes, part);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      const F xk = V::set1(x[t]);
      for (int i = 0; i < kTiles; ++i) {
        for (int part = 0; part < V::kParts; ++part) acc[i][part][t] = V::fma(column[i][part], xk, acc[i][part][t]);
      }
    }
  }
  for_sums([](const F& sum, float* y) __attribute__((always_inline)) { V::store(y, sum); });
}

/// Columns [k, k + n) of every tile and tokens [first, first + kTokens).
template <class V, class W, int kTokens>
void float_tokens(const MatmulArgs& a, int first, int k, int n) {
  alignas(64) float x[kFloatRun * kTokens];
  for (int t = 0; t < kTokens; ++t) {
    const float* const from = a.x + (first + t) * a.x_stride + k;
    for (int i = 0; i < n; ++i) x[i * kTokens + t] = from[i];
  }
  int tile = 0;
  for (; a.n_tiles - tile >= V::kFloatTiles; tile += V::kFloatTiles) {
    float_run<V, W, V::kFloatTiles, kTokens>(a, tile, first, x, k, n);
  }
  for (; tile < a.n_tiles; ++tile) float_run<V, W, 1, kTokens>(a, tile, first, x, k, n);
}

template <class V, class W>
void float_matmul(const MatmulArgs& a) {
  if (a.n_tokens == 1) {
    int tile = 0;
    for (; a.n_tiles - tile >= V::kDecodeTiles; tile += V::kDecodeTiles) float_tiles<V, W, V::kDecodeTiles>(a, tile);
    for (; tile < a.n_tiles; ++tile) float_tiles<V, W, 1>(a, tile);
    return;
  }
  constexpr auto kBySize = []<int... n>(std::integer_sequence<int, n...>) {
    return std::array<void (*)(const MatmulArgs&, int, int, int), sizeof...(n)>{float_tokens<V, W, n + 1>...};
  }
  (std::make_integer_sequence<int, V::kFloatTokens>{});
  const int n_groups = (a.n_tokens + V::kFloatTokens - 1) / V::kFloatTokens;
  for (int k = 0; k < a.cols; k += kFloatRun) {  // a run of columns stays in the L2 for all tokens
    const int n = a.cols - k < kFloatRun ? a.cols - k : kFloatRun;
    for (int group = 0, first = 0; group < n_groups; ++group) {
      const int left = n_groups - group;
      const int size = (a.n_tokens - first + left - 1) / left;  // of nearly equal size
      kBySize[static_cast<size_t>(size - 1)](a, first, k, n);
      first += size;
    }
  }
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
/// Bits moved from place `from` to place `to`; what else comes along is masked by the caller.
template <class V, int kFrom, int kTo>
DECANT_INLINE typename V::I move_bits(typename V::I v) {
  if constexpr (kFrom > kTo) {
    return V::template srl<kFrom - kTo>(v);
  } else if constexpr (kFrom < kTo) {
    return V::template sll<kTo - kFrom>(v);
  } else {
    return v;
  }
}
/// f(constant 0), …, f(constant n − 1).
template <int n, class F>
DECANT_INLINE void unrolled(const F& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, n>{});
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
/// A unit of single bits (see quant/blocks.h), or'ed into the elements at bit kTo.
template <class V, int kTo>
DECANT_INLINE void add_single_bits(const std::byte* p, int part, typename V::I* w) {
  const typename V::I v = unit<V>(p, 0, part), mask = V::set8(1 << kTo);
  unrolled<8>([&](auto g) __attribute__((always_inline)) { w[g] = V::merge(w[g], move_bits<V, g, kTo>(v), mask); });
}
/// 2 units of pairs of bits, or'ed into the elements at bit kTo.
template <class V, int kTo>
DECANT_INLINE void add_pairs(const std::byte* p, int part, typename V::I* w) {
  const typename V::I mask = V::set8(3 << kTo);
  const typename V::I v[2] = {unit<V>(p, 0, part), unit<V>(p, 1, part)};
  unrolled<8>([&](auto g) __attribute__((always_inline)) {
    w[g] = V::merge(w[g], move_bits<V, 2 * (g % 4), kTo>(v[g / 4]), mask);
  });
}
/// 2 units of pairs of bits, the elements themselves.
template <class V>
DECANT_INLINE void load_pairs(const std::byte* p, int part, typename V::I* w) {
  const typename V::I mask = V::set8(3);
  const typename V::I v[2] = {unit<V>(p, 0, part), unit<V>(p, 1, part)};
  unrolled<8>([&](auto g)
                  __attribute__((always_inline)) { w[g] = V::band(move_bits<V, 2 * (g % 4), 0>(v[g / 4]), mask); });
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
    add_single_bits<V, 4>(p + 32, part, s.w);
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
    add_single_bits<V, 4>(p + 64, part, s.w);
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
    load_nibbles<V>(p + 256 + 256 * kSub, part, s.w);
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
    load_nibbles<V>(p + 256 + 320 * kSub + 64, part, s.w);
    add_single_bits<V, 4>(p + 256 + 320 * kSub, part, s.w);
  }
};

template <class V>
struct TileQ6K {
  static constexpr int kSubs = 8, kBytes = 3392, kMax = 63, kOffset = 32;
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
    s.scale[0] = V::mul(h.d, V::to_float(signed_byte_of<V, 2 * kSub>(h.scales)));
    s.scale[1] = V::mul(h.d, V::to_float(signed_byte_of<V, 2 * kSub + 1>(h.scales)));
    load_nibbles<V>(p + 288 + 384 * kSub + 128, part, s.w);
    add_pairs<V, 4>(p + 288 + 384 * kSub, part, s.w);
  }
};

template <class V>
struct TileQ3K {
  static constexpr int kSubs = 8, kBytes = 1792, kMax = 7, kOffset = 4;
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
    load_pairs<V>(p + 224 + 192 * kSub + 64, part, s.w);
    add_single_bits<V, 2>(p + 224 + 192 * kSub, part, s.w);
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
    load_pairs<V>(p + 320 + 128 * kSub, part, s.w);
  }
};

/// −offset · Σ q and Σ q of a run of blocks of some tokens, made ready so that they cost a block a broadcast and no
/// arithmetic.
template <class T, int kTokens>
struct PreparedSums {
  static constexpr bool kTwo = T::kDots == Dots::two_scales || T::kDots == Dots::two_scales_mins;
  static constexpr bool kMins = T::kDots == Dots::scale_min || T::kDots == Dots::two_scales_mins;
  static constexpr int kSums = kTwo ? 2 : 1;  // of a block
  static constexpr int kBlocks = 32;          // a run; some kilobytes

  void prepare(const int16_t* sums, ptrdiff_t stride, int n_tokens, int n_blocks) {
    for (int t = 0; t < n_tokens; ++t) {
      const int16_t* const s = sums + t * stride;
      for (int i = 0; i < kSums * n_blocks; ++i) {
        const int sum = kTwo ? s[i] : s[2 * i] + s[2 * i + 1];
        if constexpr (T::kOffset != 0) start[t][i] = -T::kOffset * sum;
        if constexpr (kMins) value[t][i] = static_cast<float>(sum);
      }
    }
  }

  int32_t start[T::kOffset != 0 ? kTokens : 1][kSums * kBlocks];
  float value[kMins ? kTokens : 1][kSums * kBlocks];
};

/// block_dot() of the reference for one block of a few tiles and one token.
template <class V, class T, int kTiles, class Sums>
DECANT_INLINE void block_dots(const SubTile<V>* s, const int8_t* q, const Sums& sums, int t, int block,
                              typename V::F* dot) {
  const auto start = [&](int half) __attribute__((always_inline)) {
    if constexpr (T::kOffset == 0) {
      return V::zero_i();
    } else {
      return V::set32(sums.start[t][Sums::kSums * block + half]);
    }
  };
  constexpr int kGroups = 8 / Sums::kSums;
  typename V::I sum[kTiles];
  V::template dots<T::kMax, kGroups, kTiles>(s, 0, q, start(0), sum);
  for (int i = 0; i < kTiles; ++i) dot[i] = V::mul(V::to_float(sum[i]), s[i].scale[0]);
  if constexpr (Sums::kSums == 2) {
    V::template dots<T::kMax, kGroups, kTiles>(s, 4, q + 16, start(1), sum);
    for (int i = 0; i < kTiles; ++i) dot[i] = V::fma(V::to_float(sum[i]), s[i].scale[1], dot[i]);
  }
  if constexpr (Sums::kMins) {
    for (int half = 0; half < Sums::kSums; ++half) {
      const typename V::F value = V::set1(sums.value[t][Sums::kSums * block + half]);
      for (int i = 0; i < kTiles; ++i) dot[i] = V::fma(value, s[i].negated_min[half], dot[i]);
    }
  }
}

/// Brings part kSub of what lies a little ahead of block p into the L2. Only for several tokens: then arithmetic takes
/// long enough for the hardware's prefetchers to lose their way, while a single token's reads are faster without.
template <class T, int kSub>
DECANT_INLINE void prefetch_part(const std::byte* p) {
  constexpr int kAhead = 4096, kLine = 64;
  constexpr int kFrom = (T::kBytes * kSub / T::kSubs + kLine - 1) / kLine, kTo = T::kBytes * (kSub + 1) / T::kSubs;
  unrolled<(kTo + kLine - 1) / kLine - kFrom>([&](auto line) __attribute__((always_inline)) {
    __builtin_prefetch(p + kAhead + kLine * (kFrom + line), 0, 2);
  });
}

/// Products of kTiles tiles and up to kTokens tokens. Several tiles share the broadcast of an activation, without which
/// loads, not arithmetic, would be what bounds it.
template <class V, class T, int kTiles, int kTokens>
void quantized_tiles(const MatmulArgs& a, int tile, int first, int n_tokens) {
  using F = typename V::F;
  if constexpr (kTokens == 1) n_tokens = 1;
  F acc[V::kParts][kTokens][kTiles];
  for (int part = 0; part < V::kParts; ++part) {
    for (int t = 0; t < n_tokens; ++t) {
      for (int i = 0; i < kTiles; ++i) acc[part][t][i] = V::zero();
    }
  }
  const std::byte* p = tile_at(a, tile);
  const int8_t* q = a.q + first * a.q_stride;
  const float* d = a.d + first * a.d_stride;
  const int16_t* sums = a.sums + first * a.sums_stride;
  PreparedSums<T, kTokens> prepared;
  for (int left = a.cols / 32; left > 0; left -= prepared.kBlocks) {
    const int n_blocks = left < prepared.kBlocks ? left : prepared.kBlocks;
    prepared.prepare(sums, a.sums_stride, n_tokens, n_blocks);
    for (int b = 0; b < n_blocks; b += T::kSubs) {
      for (int part = 0; part < V::kParts; ++part) {
        typename T::Header header[kTiles];
        for (int i = 0; i < kTiles; ++i) header[i] = T::header(p + static_cast<size_t>(i) * a.tile_bytes, part);
        unrolled<T::kSubs>([&](auto sub) __attribute__((always_inline)) {
          SubTile<V> s[kTiles];
          if constexpr (kTokens > 1) {
            for (int i = 0; i < kTiles; ++i) prefetch_part<T, sub>(p + static_cast<size_t>(i) * a.tile_bytes);
          }
          for (int i = 0; i < kTiles; ++i) {
            T::template load<sub>(p + static_cast<size_t>(i) * a.tile_bytes, part, header[i], s[i]);
          }
          for (int t = 0; t < n_tokens; ++t) {
            F dot[kTiles];
            block_dots<V, T, kTiles>(s, q + t * a.q_stride + 32 * sub, prepared, t, b + sub, dot);
            const F scale = V::set1(d[t * a.d_stride + sub]);
            for (int i = 0; i < kTiles; ++i) acc[part][t][i] = V::fma(dot[i], scale, acc[part][t][i]);
          }
        });
      }
      p += T::kBytes;
      q += 32 * T::kSubs;
      d += T::kSubs;
    }
    sums += 2 * n_blocks;
  }
  for (int t = 0; t < n_tokens; ++t) {
    for (int i = 0; i < kTiles; ++i) {
      float* const y = output_at(a, tile + i, first + t);
      for (int part = 0; part < V::kParts; ++part) V::store(y + part * V::kLanes, acc[part][t][i]);
    }
  }
}

/// One token reads tile after tile: one stream of reads is what memory delivers fastest, 31 GB/s where four make 26
/// (one Zen 4 core). Of many tokens so many pass the tiles that their integers stay in the L2.
template <class V, class T>
void quantized_matmul(const MatmulArgs& a) {
  if (a.n_tokens == 1) {
    for (int tile = 0; tile < a.n_tiles; ++tile) quantized_tiles<V, T, 1, 1>(a, tile, 0, 1);
    return;
  }
  constexpr int kTokens = 32, kTiles = V::kQuantizedTiles;
  constexpr int kBytesAtOnce = 256 << 10;
  const int n_groups = (a.n_tokens + kTokens - 1) / kTokens;
  const int group = (a.n_tokens + n_groups - 1) / n_groups;  // groups of nearly equal size
  const int fit = kBytesAtOnce / a.cols / group * group;
  const int step = fit > group ? fit : group;
  for (int begin = 0; begin < a.n_tokens; begin += step) {
    const int end = a.n_tokens - begin < step ? a.n_tokens : begin + step;
    int tile = 0;
    const auto pass = [&]<int kAtOnce>() {
      for (; a.n_tiles - tile >= kAtOnce; tile += kAtOnce) {
        for (int first = begin; first < end; first += group) {
          quantized_tiles<V, T, kAtOnce, kTokens>(a, tile, first, end - first < group ? end - first : group);
        }
      }
    };
    pass.template operator()<kTiles>();
    if constexpr (kTiles > 1) pass.template operator()<1>();
  }
}

#undef DECANT_INLINE

}  // namespace decant::kernels
