// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/detail/half.h"

#include "cache/kernels/attention_kernels.h"
#include "cache/kernels/hadamard.h"
#include "tests/cache/kernels/guarded_buffer.h"
#include "tests/support/fixtures.h"

namespace decant::kernels {
namespace {

using Tile = test::GuardedBuffer<std::byte>;

constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::bf16, KvType::q8, KvType::q4, KvType::q4_plain};

/// n finite floats of every size, none beyond what a binary16 holds.
std::vector<float> storable(int n) {
  std::vector<float> x;
  for (uint32_t bits = 0x12345; static_cast<int>(x.size()) < n; bits += 0x9E3779B9U) {
    const float value = std::bit_cast<float>(bits);
    if (value > -65519.0F && value < 65519.0F) x.push_back(value);
  }
  return x;
}

std::vector<float> random_floats(int n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(random);
  return x;
}

bool same_bits(const float* a, const float* b, int n) {
  return std::memcmp(a, b, static_cast<size_t>(n) * sizeof(float)) == 0;
}

/// A K tile and a V tile of one type, all bits set until a row is written.
struct Tiles {
  KvType type;
  int dim;
  Tile k, v;

  Tiles(KvType kv_type, int head_dim)
      : type(kv_type), dim(head_dim), k(kv_k_tile_bytes(type, dim)), v(kv_v_tile_bytes(type, dim)) {
    std::memset(k.data(), 0xFF, k.size());
    std::memset(v.data(), 0xFF, v.size());
  }
  bool store(const AttentionKernels& kernels, const float* row, int slot) {
    const bool k_fits = kernels.store_k[static_cast<int>(type)](row, dim, k.data(), slot);
    const bool v_fits = kernels.store_v[static_cast<int>(type)](row, dim, v.data(), slot);
    REQUIRE(k_fits == v_fits);
    return k_fits;
  }
  /// The row of K and of V as one comes back; they must be the same.
  std::vector<float> load(const AttentionKernels& kernels, int slot) const {
    test::GuardedBuffer<float> from_k(static_cast<size_t>(dim)), from_v(static_cast<size_t>(dim));
    kernels.load_k[static_cast<int>(type)](k.data(), slot, dim, from_k.data());
    kernels.load_v[static_cast<int>(type)](v.data(), slot, dim, from_v.data());
    REQUIRE(from_k.same_bits(from_v));
    return {from_k.data(), from_k.data() + dim};
  }
  bool same_bytes(const Tiles& other) const { return k.same_bits(other.k) && v.same_bits(other.v); }
};

float rounded(KvType type, float x) {
  if (type == KvType::f16) return detail::f16_to_f32(detail::f32_to_f16(x));
  return type == KvType::bf16 ? detail::bf16_to_f32(detail::f32_to_bf16(x)) : x;
}

TEST_CASE("kv_rows: a row comes back as rounded once, from its own slot of its tile, the same for every ISA") {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16})
    for (const int dim : {1, 7, 16, 24, 33, 64, 80, 576})
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(type)));
        CAPTURE(std::string(to_string(isa)));
        CAPTURE(dim);
        const AttentionKernels& kernels = attention_kernels(isa);
        Tiles tiles(type, dim);
        const std::vector<float> rows = storable(dim * kTileTokens);
        bool fits = true;
        for (int slot = 0; slot < kTileTokens; ++slot) {
          const test::GuardedBuffer<float> row({rows.data() + slot * dim, static_cast<size_t>(dim)});
          fits = tiles.store(kernels, row.data(), slot) && fits;
        }
        CHECK(fits);
        bool same = true;
        for (int slot = 0; slot < kTileTokens; ++slot) {
          std::vector<float> expected(rows.begin() + slot * dim, rows.begin() + (slot + 1) * dim);
          for (float& x : expected) x = rounded(type, x);
          same = same && same_bits(tiles.load(kernels, slot).data(), expected.data(), dim);
        }
        CHECK(same);
      }
}

TEST_CASE("kv_rows: tiles of dimensions that are multiples of 32 take 8.5 and 4.5 bits an element, all take few more") {
  for (const int dim : {32, 64, 96, 128, 576}) {
    const size_t elements = static_cast<size_t>(dim) * kTileTokens;
    CHECK(kv_k_tile_bytes(KvType::q8, dim) * 16 == elements * 17);
    CHECK(kv_v_tile_bytes(KvType::q8, dim) * 16 == elements * 17);
    for (const KvType type : {KvType::q4, KvType::q4_plain}) {
      CHECK(kv_k_tile_bytes(type, dim) * 16 == elements * 9);
      CHECK(kv_v_tile_bytes(type, dim) * 16 == elements * 9);
    }
  }
  for (const KvType type : kTypes)
    for (const int dim : {1, 7, 8, 15, 16, 17, 24, 31, 33, 80}) {
      CAPTURE(std::string(to_string(type)));
      CAPTURE(dim);
      const size_t rounded_up = static_cast<size_t>((dim + 31) / 32 * 32);
      for (const size_t bytes : {kv_k_tile_bytes(type, dim), kv_v_tile_bytes(type, dim)}) {
        CHECK(bytes % 16 == 0);
        CHECK(bytes <= kv_k_tile_bytes(type, static_cast<int>(rounded_up)));
      }
    }
}

TEST_CASE("kv_rows: q8 and plain q4 are the reference's Q8_0 and Q4_0, value for value") {
  const auto arrays = test::read_arrays(test::fixture("quants/quant_rows.safetensors"));
  const test::Array& source = arrays.at("source");
  const int n_rows = static_cast<int>(source.shape[0]), dim = static_cast<int>(source.shape[1]);
  const std::vector<float> x = source.f32();
  constexpr struct {
    KvType type;
    const char* values;
  } kCases[] = {{KvType::bf16, "BF16.values"}, {KvType::q8, "Q8_0.values"}, {KvType::q4_plain, "Q4_0.values"}};
  for (const auto& c : kCases) {
    CAPTURE(std::string(c.values));
    const std::vector<float> expected = arrays.at(c.values).f32();
    const AttentionKernels& kernels = attention_kernels(Isa::reference);
    Tiles tiles(c.type, dim);
    for (int row = 0; row < n_rows; ++row) {
      CAPTURE(row);
      REQUIRE(tiles.store(kernels, x.data() + row * dim, row));
      const std::vector<float> stored = tiles.load(kernels, row);
      CHECK(std::equal(stored.begin(), stored.end(), expected.begin() + row * dim));
    }
  }
}

/// The greatest |x| of a run.
double greatest(const float* x, int n) {
  double most = 0;
  for (int i = 0; i < n; ++i) most = std::max(most, std::fabs(static_cast<double>(x[i])));
  return most;
}

constexpr double kUnit = 0x1p-24;      // of binary32
constexpr double kHalfUnit = 0x1p-11;  // of binary16
constexpr double kHalfTiny = 0x1p-25;  // half a step of its subnormals

/// What a block of q8 may lose: half a step of amax / 127, and the scale's rounding times an integer up to 127. Twice
/// 2^-20 of amax covers the products in binary32 by which the integer was found.
double bound_q8(double amax) { return amax / 254 + 127 * (amax / 127 * kHalfUnit + kHalfTiny) + amax * 0x1p-19; }

/// A block of plain q4: levels end a step of amax / 8 short of the greatest element's mirror image, else half a step.
double bound_q4(double amax) { return amax / 8 + 8 * (amax / 8 * kHalfUnit + kHalfTiny) + amax * 0x1p-19; }

TEST_CASE("kv_rows: what a quantized row loses stays within its bound, whatever the dimension, for every ISA alike") {
  for (const KvType type : {KvType::q8, KvType::q4_plain, KvType::q4})
    for (const int dim : {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 50, 64, 80, 96, 128, 192, 576, 2048}) {
      CAPTURE(std::string(to_string(type)));
      CAPTURE(dim);
      const std::vector<float> rows = random_floats(dim * kTileTokens, static_cast<uint32_t>(dim));
      const AttentionKernels& plain = attention_kernels(Isa::reference);
      Tiles tiles(type, dim);
      bool fits = true, within = true;
      for (int slot = 0; slot < kTileTokens; ++slot) fits = tiles.store(plain, rows.data() + slot * dim, slot) && fits;
      CHECK(fits);
      const int mixed = type == KvType::q4 ? hadamard_block(dim) : 1;
      for (int slot = 0; slot < kTileTokens; ++slot) {
        const float* const x = rows.data() + slot * dim;
        const std::vector<float> stored = tiles.load(plain, slot);
        for (int i = 0; i < dim; ++i) {
          const int block = i / 32 * 32;
          double bound = 0;
          if (type == KvType::q8) bound = bound_q8(greatest(x + block, std::min(32, dim - block)));
          if (type == KvType::q4_plain) bound = bound_q4(greatest(x + block, std::min(32, dim - block)));
          if (type == KvType::q4) {
            // Rotated numbers are at most sqrt(n) · amax of what they mix, over all that share a scale with this one;
            // turning errors back multiplies them by at most sqrt(n) again. The two rotations' own errors: see
            // hadamard_test.
            const int run = std::max(mixed, 32), first = i / run * run;
            const double root = std::sqrt(static_cast<double>(mixed));
            const double amax = greatest(x + first, std::min(run, dim - first)) * root;
            bound = root * bound_q4(amax) + 2 * 12 * kUnit * root * amax;
          }
          within = within && std::fabs(static_cast<double>(stored[static_cast<size_t>(i)]) - x[i]) <= bound;
        }
      }
      CHECK(within);
      for (const Isa isa : available_isas()) {
        Tiles others(type, dim);
        for (int slot = 0; slot < kTileTokens; ++slot)
          REQUIRE(others.store(attention_kernels(isa), rows.data() + slot * dim, slot));
        CHECK(others.same_bytes(tiles));
        CHECK(same_bits(others.load(attention_kernels(isa), 3).data(), tiles.load(plain, 3).data(), dim));
      }
    }
}

TEST_CASE("kv_rows: q4 stores the bytes that plain q4 stores of the rotated row") {
  const AttentionKernels& kernels = attention_kernels(Isa::reference);
  for (const int dim : {7, 16, 24, 80, 96, 128, 192, 576, 2048}) {
    CAPTURE(dim);
    std::vector<float> row = random_floats(dim, 3);
    Tiles rotated(KvType::q4, dim), plain(KvType::q4_plain, dim);
    REQUIRE(rotated.store(kernels, row.data(), 11));
    hadamard(row.data(), dim, hadamard_block(dim));
    REQUIRE(plain.store(kernels, row.data(), 11));
    CHECK(rotated.same_bytes(plain));
  }
}

TEST_CASE("kv_rows: a copied row is the stored one, bit for bit, and nothing else of the tile changes") {
  for (const KvType type : kTypes)
    for (const int dim : {1, 7, 8, 16, 24, 33, 50, 64, 80, 576})
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(type)));
        CAPTURE(std::string(to_string(isa)));
        CAPTURE(dim);
        const AttentionKernels& kernels = attention_kernels(isa);
        const int t = static_cast<int>(type);
        const std::vector<float> rows = random_floats(dim * kTileTokens, 8);
        Tiles from(type, dim), to(type, dim), expected(type, dim);
        for (int slot = 0; slot < kTileTokens; ++slot) {
          REQUIRE(from.store(kernels, rows.data() + slot * dim, slot));
          REQUIRE(to.store(kernels, rows.data() + (15 - slot) * dim, slot));
          REQUIRE(expected.store(kernels, rows.data() + (slot == 3 ? 13 : 15 - slot) * dim, slot));
        }
        kernels.copy_k[t](from.k.data(), 13, dim, to.k.data(), 3);
        kernels.copy_v[t](from.v.data(), 13, dim, to.v.data(), 3);
        CHECK(to.same_bytes(expected));
        kernels.copy_k[t](to.k.data(), 3, dim, to.k.data(), 3);  // to its own place
        kernels.copy_v[t](to.v.data(), 3, dim, to.v.data(), 3);
        CHECK(to.same_bytes(expected));
      }
}

TEST_CASE("kv_rows: a value that is not finite, or not in the type, is refused wherever it stands") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // The least magnitudes that rounding makes infinite: half way from the greatest number to the next power of two, of
  // the element or of the block's scale. For q4 in a row whose other elements are too small to count.
  struct Limit {
    KvType type;
    float greatest, too_large;
  };
  constexpr Limit kLimits[] = {{KvType::f32, 3.4e38F, 0.0F},
                               {KvType::f16, 65519.996F, 65520.0F},
                               {KvType::bf16, 0x1.fefffep127F, 0x1.ffp127F},
                               {KvType::q8, 65500.0F * 127, 65520.0F * 127},
                               {KvType::q4_plain, 65519.0F * 8, 65520.0F * 8}};
  for (const Isa isa : available_isas())
    for (const int dim : {1, 5, 16, 20, 32, 40}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(dim);
      const AttentionKernels& kernels = attention_kernels(isa);
      for (const KvType type : kTypes) {
        CAPTURE(std::string(to_string(type)));
        Tiles tiles(type, dim);
        for (int i = 0; i < dim; ++i) {
          std::vector<float> row(static_cast<size_t>(dim), 1.0F);
          const auto fits = [&](float value) {
            row[static_cast<size_t>(i)] = value;
            return tiles.store(kernels, row.data(), 3);
          };
          for (const float good : {60000.0F, -60000.0F, 1e-30F, -1e-45F, -0.0F}) CHECK(fits(good));
          for (const float bad : {inf, -inf, nan, -nan}) CHECK(!fits(bad));
          for (const Limit& limit : kLimits) {
            if (limit.type != type) continue;
            CHECK(fits(limit.greatest));
            CHECK(fits(-limit.greatest));
            if (limit.too_large == 0.0F) continue;
            CHECK(!fits(limit.too_large));
            CHECK(!fits(-limit.too_large));
            CHECK(!fits(3.4e38F));
          }
          // Rotation spreads an element over the block, so the limit grows; a sum may still overflow.
          if (type == KvType::q4) {
            const float spread = std::sqrt(static_cast<float>(hadamard_block(dim)));
            CHECK(fits(65000.0F * 8 * spread));
            CHECK(!fits(66000.0F * 8 * spread));
            CHECK(!fits(3.4e38F));
          }
        }
      }
    }
}

TEST_CASE("kv_rows: rows too small for a scale come back as zeros, and none is refused") {
  for (const KvType type : {KvType::q8, KvType::q4, KvType::q4_plain})
    for (const float tiny : {0.0F, 1e-45F, 1e-38F, 1e-30F, 1e-9F}) {
      CAPTURE(std::string(to_string(type)));
      CAPTURE(tiny);
      const AttentionKernels& kernels = attention_kernels(Isa::reference);
      Tiles tiles(type, 24);
      std::vector<float> row(24, tiny);
      for (size_t i = 0; i < row.size(); i += 3) row[i] = -tiny;
      REQUIRE(tiles.store(kernels, row.data(), 0));
      for (const float x : tiles.load(kernels, 0)) CHECK(x == 0.0F);
    }
}

}  // namespace
}  // namespace decant::kernels
