// SPDX-License-Identifier: Apache-2.0
#include "cache/block_layout.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/cache.h"

#include "cache/kernels/attention_kernels.h"

namespace decant::cache {
namespace {

ErrorCode refusal(const KvLayerShape& shape, KvType k_type) {
  const auto layout = BlockLayout::create({&shape, 1}, 16, k_type, KvType::f16);
  return layout ? ErrorCode::ok : layout.error().code;
}

TEST_CASE("block_layout: runs of every type begin on 64 bytes and hold a block's tiles, for odd dimensions too") {
  for (int t = 0; t < kKvTypeCount * kKvTypeCount; ++t)
    for (const int block_tokens : {16, 48, 256}) {
      const auto k_type = static_cast<KvType>(t / kKvTypeCount), v_type = static_cast<KvType>(t % kKvTypeCount);
      CAPTURE(std::string(to_string(k_type)));
      CAPTURE(std::string(to_string(v_type)));
      const std::vector<KvLayerShape> shapes = {{3, 5, 7, 0}, {1, 80, 33, 0}, {2, 128, 64, 0}};
      const auto layout = BlockLayout::create(shapes, block_tokens, k_type, v_type);
      REQUIRE(layout.ok());
      size_t end = 0;
      for (const LayerLayout& layer : layout->layers) {
        const auto n_tiles = static_cast<size_t>(block_tokens / kernels::kTileTokens);
        CHECK(layer.offset >= end);
        CHECK(layer.offset % 64 == 0);
        CHECK(layer.v_offset % 64 == 0);
        CHECK(layer.head_stride % 64 == 0);
        CHECK(layer.k_tile_bytes == kernels::kv_k_tile_bytes(k_type, layer.k_dim));
        CHECK(layer.v_tile_bytes == kernels::kv_v_tile_bytes(v_type, layer.v_dim));
        CHECK(layer.v_offset >= n_tiles * layer.k_tile_bytes);
        CHECK(layer.head_stride >= layer.v_offset + n_tiles * layer.v_tile_bytes);
        end = layer.offset + layer.head_stride * static_cast<size_t>(layer.n_kv_heads);
      }
      CHECK(layout->groups.front().block_bytes >= end);
    }
}

TEST_CASE("block_layout: values inside keys take no bytes of their own") {
  KvLayerShape shape{1, 576, 512, 0};
  shape.v_in_k = true;
  const auto layout = BlockLayout::create({&shape, 1}, 64, KvType::f16, KvType::q4);
  REQUIRE(layout.ok());
  CHECK(layout->layers[0].v_in_k);
  CHECK(layout->layers[0].v_tile_bytes == 0);
  CHECK(layout->layers[0].head_stride == size_t{64} * 576 * 2);
}

TEST_CASE("block_layout: values inside keys are refused where keys are rotated or have too few channels") {
  KvLayerShape shape{1, 64, 64, 0};
  shape.v_in_k = true;
  for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16, KvType::q8, KvType::q4_plain})
    CHECK(refusal(shape, type) == ErrorCode::ok);
  CHECK(refusal(shape, KvType::q4) == ErrorCode::invalid_argument);
  shape.v_dim = 65;
  CHECK(refusal(shape, KvType::f16) == ErrorCode::invalid_argument);
  shape.v_in_k = false;
  CHECK(refusal(shape, KvType::q4) == ErrorCode::ok);
}

TEST_CASE("block_layout: a cache of values inside keys gives out the keys' first channels as values") {
  KvLayerShape shape{2, 40, 33, 0};
  shape.v_in_k = true;
  CacheOptions options;
  options.block_tokens = 16;
  options.k_type = KvType::q8;
  const auto cache = KvCache::create({&shape, 1}, options, 1, 64, Isa::reference);
  REQUIRE(cache.ok());
  const SequenceIndex sequence = (*cache)->add_sequence().value();
  const KvGrowth growth{sequence, 20};
  auto reservation = (*cache)->reserve({&growth, 1});
  REQUIRE(reservation.ok());
  for (int pos = 0; pos < 20; ++pos) {
    std::vector<float> k(80);
    for (size_t i = 0; i < k.size(); ++i) k[i] = static_cast<float>(pos * 80) + static_cast<float>(i);
    REQUIRE((*cache)->write(sequence, 0, pos, k.data(), nullptr));
  }
  reservation->commit();
  CHECK((*cache)->view(sequence, 0, 1).v_in_k);
  std::vector<float> k(20 * 80), v(20 * 66);
  REQUIRE((*cache)->copy_out(sequence, 0, 0, 20, k.data(), v.data()).ok());
  bool same = true;
  for (size_t row = 0; row < 40; ++row)
    for (size_t ch = 0; ch < 33; ++ch) same = same && v[row * 33 + ch] == k[row * 40 + ch];
  CHECK(same);
}

}  // namespace
}  // namespace decant::cache
