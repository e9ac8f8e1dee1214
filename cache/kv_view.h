// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "cache/kernels/attention_kernels.h"

namespace decant::cache {

/// K≤i and V≤i of one layer and kv head of one sequence, where they lie: nothing is copied. Valid until the cache
/// changes.
struct KvView {
  std::byte* const* blocks =
      nullptr;           ///< the sequence's block table, oldest first; null where a window gave a block back
  size_t k_offset = 0;   ///< bytes from a block's start to this head's first K tile
  size_t v_offset = 0;   ///< … and to its first V tile
  int block_tokens = 0;  ///< slots of a block, a multiple of 16
  int len = 0;           ///< slots written: positions [0, len)
  int first = 0;         ///< first slot that is still there (a window gave back those before)
  int k_dim = 0;
  int v_dim = 0;
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;

  /// The K tile [k_dim, 16] of slots [16·i, 16·i + 16); null if its block was given back.
  std::byte* k_tile(int i) const { return tile(i, k_offset, k_dim, k_type); }
  /// The V tile [16, v_dim] of the same slots.
  std::byte* v_tile(int i) const { return tile(i, v_offset, v_dim, v_type); }

 private:
  std::byte* tile(int i, size_t offset, int dim, KvType type) const {
    const int per_block = block_tokens / kernels::kTileTokens;
    std::byte* const block = blocks[i / per_block];
    if (block == nullptr) return nullptr;
    const size_t tile_bytes = static_cast<size_t>(dim) * kernels::kTileTokens * kernels::kv_type_bytes(type);
    return block + offset + static_cast<size_t>(i % per_block) * tile_bytes;
  }
};

}  // namespace decant::cache
