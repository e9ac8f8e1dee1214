// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "decant/dtype.h"
#include "decant/result.h"

namespace decant::cache {

struct KvLayerShape;

/// Where a layer's tiles lie in the blocks of its group.
struct LayerLayout {
  int n_kv_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  int group = 0;
  size_t offset = 0;       ///< bytes from a block's start to head 0's first K tile
  size_t v_offset = 0;     ///< … from a head's first K tile to its first V tile
  size_t head_stride = 0;  ///< … and to the next head's first K tile
  size_t k_tile_bytes = 0;
  size_t v_tile_bytes = 0;       ///< 0 with v_in_k
  bool v_in_k = false;           ///< values are the first v_dim channels of the keys: there are no V tiles
  int rotary_begin = 0;          ///< first channel that positions rotate
  std::vector<double> inv_freq;  ///< radians a position, of channel rotary_begin + i and the one inv_freq.size() later
};

/// Layers with the same window: their blocks come and go together.
struct GroupLayout {
  int window = 0;
  size_t block_bytes = 0;  ///< whole pages, so that slabs have no slack
};

/// The layout of all blocks of a cache; see the drawing in decant/cache.h.
struct BlockLayout {
  int block_tokens = 0;
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;
  int rollback_tokens = 0;  ///< slots that windows keep beyond what the next token attends to
  std::vector<LayerLayout> layers;
  std::vector<GroupLayout> groups;

  /// `invalid_argument` for shapes that are none, for values in keys of type q4, or whose block has more bytes than can
  /// be counted.
  static Result<BlockLayout> create(std::span<const KvLayerShape> shapes, int block_tokens, KvType k_type,
                                    KvType v_type);

  /// Blocks that n_tokens ≥ 0 slots take in a group.
  int blocks_for(int n_tokens) const noexcept { return n_tokens / block_tokens + (n_tokens % block_tokens != 0); }

  /// Copies the tiles of the first n_slots slots from one block of a group to another.
  void copy_slots(int group, const std::byte* from, std::byte* to, int n_slots) const noexcept;

  /// Blocks at a sequence's front that no query at len or later attends to.
  int outlived_blocks(const GroupLayout& group, int len) const noexcept {
    return group.window == 0 || len < group.window ? 0 : (len - group.window + 1) / block_tokens;
  }
};

}  // namespace decant::cache
