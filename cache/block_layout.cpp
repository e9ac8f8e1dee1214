// SPDX-License-Identifier: Apache-2.0
#include "cache/block_layout.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "decant/cache.h"
#include "decant/detail/format.h"

#include "cache/kernels/attention_kernels.h"
#include "cache/mapping.h"

namespace decant::cache {
namespace {

constexpr size_t kTileAlignment = 64;  // a cache line, and the widest register
constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 4;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Bytes of a head's K tiles in one block, or of its V tiles. At most 2³¹ · 256 · 4 = 2⁴¹: cannot overflow.
size_t run_bytes(int block_tokens, size_t tile_bytes) {
  return round_up(static_cast<size_t>(block_tokens / kernels::kTileTokens) * tile_bytes, kTileAlignment);
}

bool is_type(KvType type) { return static_cast<int>(type) >= 0 && static_cast<int>(type) < kKvTypeCount; }

}  // namespace

Result<BlockLayout> BlockLayout::create(std::span<const KvLayerShape> shapes, int block_tokens, KvType k_type,
                                        KvType v_type) {
  if (shapes.empty()) return Error{ErrorCode::invalid_argument, "cache: no layers"};
  if (block_tokens < 16 || block_tokens > 256 || block_tokens % kernels::kTileTokens != 0)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: block_tokens is {}, expected a multiple of 16 from 16 to 256", block_tokens)};
  if (!is_type(k_type) || !is_type(v_type)) return Error{ErrorCode::invalid_argument, "cache: unknown K or V type"};

  BlockLayout layout;
  layout.block_tokens = block_tokens;
  layout.k_type = k_type;
  layout.v_type = v_type;
  layout.layers.reserve(shapes.size());
  for (const KvLayerShape& shape : shapes) {
    if (shape.n_kv_heads < 1 || shape.k_dim < 1 || shape.v_dim < 1 || shape.window < 0)
      return Error{
          ErrorCode::invalid_argument,
          detail::format("cache: layer {}: n_kv_heads {}, k_dim {}, v_dim {}, window {}: counts must be positive",
                         layout.layers.size(), shape.n_kv_heads, shape.k_dim, shape.v_dim, shape.window)};
    if (shape.v_in_k && (shape.v_dim > shape.k_dim || k_type == KvType::q4))
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: layer {}: values can't be the first {} of {} channels of keys of type {}",
                                  layout.layers.size(), shape.v_dim, shape.k_dim, to_string(k_type))};
    const size_t n_rotated = 2 * shape.inv_freq.size();
    if (shape.rotary_begin < 0 || shape.rotary_begin > shape.k_dim ||
        n_rotated > static_cast<size_t>(shape.k_dim - shape.rotary_begin))
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: layer {}: {} channels from {} on are rotated, a key has {}",
                                  layout.layers.size(), n_rotated, shape.rotary_begin, shape.k_dim)};
    auto group = std::find_if(layout.groups.begin(), layout.groups.end(),
                              [&](const GroupLayout& g) { return g.window == shape.window; });
    if (group == layout.groups.end()) group = layout.groups.insert(group, GroupLayout{shape.window, 0});

    LayerLayout layer;
    layer.n_kv_heads = shape.n_kv_heads;
    layer.k_dim = shape.k_dim;
    layer.v_dim = shape.v_dim;
    layer.group = static_cast<int>(group - layout.groups.begin());
    layer.offset = group->block_bytes;
    layer.v_in_k = shape.v_in_k;
    layer.rotary_begin = shape.rotary_begin;
    layer.inv_freq.assign(shape.inv_freq.begin(), shape.inv_freq.end());
    layer.k_tile_bytes = kernels::kv_k_tile_bytes(k_type, shape.k_dim);
    layer.v_tile_bytes = shape.v_in_k ? 0 : kernels::kv_v_tile_bytes(v_type, shape.v_dim);
    layer.v_offset = run_bytes(block_tokens, layer.k_tile_bytes);
    layer.head_stride = layer.v_offset + run_bytes(block_tokens, layer.v_tile_bytes);
    size_t layer_bytes = 0;
    if (__builtin_mul_overflow(layer.head_stride, static_cast<size_t>(shape.n_kv_heads), &layer_bytes) ||
        layer_bytes > kMaxBytes - group->block_bytes)
      return Error{ErrorCode::invalid_argument, "cache: a block of these layers has more bytes than can be counted"};
    group->block_bytes += layer_bytes;
    layout.layers.push_back(layer);
  }
  for (GroupLayout& group : layout.groups) group.block_bytes = round_up(group.block_bytes, kPageBytes);
  return layout;
}

void BlockLayout::copy_slots(int group, const std::byte* from, std::byte* to, int n_slots) const noexcept {
  const auto n_tiles = static_cast<size_t>((n_slots + kernels::kTileTokens - 1) / kernels::kTileTokens);
  for (const LayerLayout& layer : layers) {
    if (layer.group != group) continue;
    for (int h = 0; h < layer.n_kv_heads; ++h) {
      const size_t k = layer.offset + static_cast<size_t>(h) * layer.head_stride, v = k + layer.v_offset;
      std::memcpy(to + k, from + k, n_tiles * layer.k_tile_bytes);
      std::memcpy(to + v, from + v, n_tiles * layer.v_tile_bytes);
    }
  }
}

}  // namespace decant::cache
