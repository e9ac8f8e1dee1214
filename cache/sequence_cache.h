// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cache/block_layout.h"
#include "cache/block_pool.h"

namespace decant::cache {

/// The blocks of one sequence in one group of layers, oldest first: null where a window gave one back. Grows by
/// appending. Lies in memory that is set aside when the cache is made, so growing calls no allocator.
///
/// A block may stand in several tables. Only a last, partly full one is ever written again: a table that grows into one
/// it shares puts a copy in its place first.
class BlockTable {
 public:
  BlockTable(std::byte** blocks, BlockId* ids) noexcept : blocks_(blocks), ids_(ids) {}

  /// Every block of another table of the group becomes one of this, too; this one must be empty.
  void share(BlockPool& pool, const BlockTable& other) noexcept;

  /// Gives the last block up if it is shared, since growing will write to it; true if so, then grow() takes one block
  /// more for the copy. Of several tables that grow into the same block the last one that asks keeps it.
  bool give_up_last(BlockPool& pool) noexcept;
  /// Takes a last block that was given up back: nothing was grown.
  void take_back_last(BlockPool& pool) noexcept;
  /// Takes free blocks of the pool until there are n; returns where the first n_slots slots of a last block that was
  /// given up must be copied from and to, or nulls.
  std::pair<const std::byte*, std::byte*> grow(BlockPool& pool, int n) noexcept;

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
  bool gave_up_last_ = false;
};

/// One sequence: its length and a block table a group of layers.
class SequenceCache {
 public:
  explicit SequenceCache(std::vector<BlockTable> tables) noexcept : tables_(std::move(tables)) {}

  /// Becomes a second owner of what another sequence has committed; this one must be empty.
  void share(std::vector<BlockPool>& pools, const SequenceCache& other) noexcept;

  /// Adds the blocks that growing to n_slots in all, committed ones included, takes of each group to n_new. grow() or
  /// abandon() must follow.
  void plan(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots, std::span<int64_t> n_new) noexcept;
  void abandon(std::vector<BlockPool>& pools) noexcept;
  /// Takes the blocks that were planned; the pools must have them free.
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
