// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/detail/half.h"

#include "cache/kernels/attention_kernels.h"
#include "tests/cache/kernels/guarded_buffer.h"

namespace decant::kernels {
namespace {

using Tile = test::GuardedBuffer<std::byte>;

/// n finite floats of every size, none beyond what a binary16 holds.
std::vector<float> storable(int n) {
  std::vector<float> x;
  for (uint32_t bits = 0x12345; static_cast<int>(x.size()) < n; bits += 0x9E3779B9U) {
    const float value = std::bit_cast<float>(bits);
    if (value > -65519.0F && value < 65519.0F) x.push_back(value);
  }
  return x;
}

TEST_CASE("kv_rows: a row comes back as stored, from its own slot of its tile, the same for every ISA") {
  for (const KvType type : {KvType::f32, KvType::f16})
    for (const int dim : {1, 7, 16, 24, 33, 64, 80, 576})
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(type)));
        CAPTURE(std::string(to_string(isa)));
        CAPTURE(dim);
        const AttentionKernels& kernels = attention_kernels(isa);
        const int t = static_cast<int>(type);
        const size_t tile_bytes = static_cast<size_t>(dim * kTileTokens * kv_type_bytes(type));
        Tile k_tile(tile_bytes), v_tile(tile_bytes);
        const std::vector<float> rows = storable(dim * kTileTokens);
        bool fits = true;
        for (int slot = 0; slot < kTileTokens; ++slot) {
          const test::GuardedBuffer<float> row({rows.data() + slot * dim, static_cast<size_t>(dim)});
          fits = kernels.store_k[t](row.data(), dim, k_tile.data(), slot) && fits;
          fits = kernels.store_v[t](row.data(), dim, v_tile.data(), slot) && fits;
        }
        CHECK(fits);
        bool same = true;
        for (int slot = 0; slot < kTileTokens; ++slot) {
          test::GuardedBuffer<float> k(static_cast<size_t>(dim)), v(static_cast<size_t>(dim));
          kernels.load_k[t](k_tile.data(), slot, dim, k.data());
          kernels.load_v[t](v_tile.data(), slot, dim, v.data());
          for (int i = 0; i < dim; ++i) {
            const float x = rows[static_cast<size_t>(slot * dim + i)];
            const float expected = type == KvType::f32 ? x : detail::f16_to_f32(detail::f32_to_f16(x));
            same = same && std::bit_cast<uint32_t>(k.data()[i]) == std::bit_cast<uint32_t>(expected) &&
                   std::bit_cast<uint32_t>(v.data()[i]) == std::bit_cast<uint32_t>(expected);
          }
        }
        CHECK(same);
      }
}

TEST_CASE("kv_rows: a value that is not finite, or not as binary16, is refused wherever it stands") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kGreatestHalf = 65504.0F, kRoundsDown = 65519.996F, kRoundsUp = 65520.0F;
  for (const Isa isa : available_isas())
    for (const int dim : {1, 5, 16, 20, 32}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(dim);
      const AttentionKernels& kernels = attention_kernels(isa);
      std::vector<std::byte> tile(static_cast<size_t>(dim) * kTileTokens * 4);
      const auto fits = [&](KvType type, const std::vector<float>& row) {
        const int t = static_cast<int>(type);
        const bool k = kernels.store_k[t](row.data(), dim, tile.data(), 3);
        const bool v = kernels.store_v[t](row.data(), dim, tile.data(), 3);
        REQUIRE(k == v);
        return k;
      };
      for (int i = 0; i < dim; ++i) {
        std::vector<float> row(static_cast<size_t>(dim), 1.0F);
        for (const float good : {kGreatestHalf, -kGreatestHalf, kRoundsDown, 1e-30F, -0.0F}) {
          row[static_cast<size_t>(i)] = good;
          CHECK(fits(KvType::f32, row));
          CHECK(fits(KvType::f16, row));
        }
        for (const float bad : {inf, -inf, nan, -nan}) {
          row[static_cast<size_t>(i)] = bad;
          CHECK(!fits(KvType::f32, row));
          CHECK(!fits(KvType::f16, row));
        }
        for (const float large : {kRoundsUp, -kRoundsUp, 3e38F}) {
          row[static_cast<size_t>(i)] = large;
          CHECK(fits(KvType::f32, row));
          CHECK(!fits(KvType::f16, row));
        }
      }
    }
}

}  // namespace
}  // namespace decant::kernels
