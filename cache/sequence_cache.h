// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "cache/block_layout.h"
#include "cache/block_pool.h"

namespace decant::cache {

/// The blocks of one sequence in one group of layers, oldest first: null where a window gave one back. Grows by
/// appending. Lies in memory that is set aside when the cache is made, so growing calls no allocator.
class BlockTable {
 public:
  BlockTable(std::byte** blocks, BlockId* ids) noexcept : blocks_(blocks), ids_(ids) {}

  /// Takes free blocks of the pool until there are n.
  void grow(BlockPool& pool, int n) noexcept;
  /// Drops blocks from the back until there are n, from the front until n are outlived.
  void cut_back(BlockPool& pool, int n) noexcept;
  void cut_front(BlockPool& pool, int n) noexcept;

  std::byte* const* blocks() const noexcept { return blocks_; }
  BlockId id(int i) const noexcept { return ids_[i]; }
  int n_blocks() const noexcept { return n_blocks_; }      ///< those given back at the front included
  int n_outlived() const noexcept { return n_outlived_; }  ///< given back at the front

 private:
  std::byte** blocks_;
  BlockId* ids_;
  int n_blocks_ = 0;
  int n_outlived_ = 0;
};

/// One sequence: its length and a block table a group of layers.
class SequenceCache {
 public:
  explicit SequenceCache(std::vector<BlockTable> tables) noexcept : tables_(std::move(tables)) {}

  /// Takes blocks for n_slots in all, committed ones included; the pools must have them free.
  void grow(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept;
  /// Makes every slot committed and gives back what no later query attends to.
  void commit(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept;
  /// Cuts to n_slots ≤ this->n_slots(), reserved ones first.
  void cut(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept;

  /// Whether all that queries at len and later attend to is still there.
  bool can_cut(const BlockLayout& layout, int len) const noexcept;

  const BlockTable& table(int group) const noexcept { return tables_[group]; }
  int len() const noexcept { return len_; }          ///< committed tokens
  int n_slots() const noexcept { return n_slots_; }  ///< those and the reserved ones

 private:
  std::vector<BlockTable> tables_;
  int len_ = 0;
  int n_slots_ = 0;
};

}  // namespace decant::cache
