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

/// The blocks of one sequence in one group of layers, oldest first, numbered from slot 0 on: block b holds slots
/// [b · block_tokens, (b + 1) · block_tokens). Those at the front may be gone. Grows by appending. Lies in memory that
/// is set aside when the cache is made, so growing calls no allocator.
///
/// A block may have other owners. Only one with a single owner is written: a table that is about to write into a shared
/// one puts a copy in its place first.
class BlockTable {
 public:
  /// Room for `capacity` blocks at a time.
  BlockTable(std::byte** blocks, BlockId* ids, int capacity) noexcept
      : blocks_(blocks), ids_(ids), capacity_(capacity) {}

  /// Every block of another table of the group becomes one of this, too; this one must be empty.
  void share(BlockPool& pool, const BlockTable& other) noexcept;
  /// The next block is one that has an owner already.
  void append_shared(BlockPool& pool, BlockId id) noexcept;
  /// The next block is one that nobody attends to: none.
  void append_gone() noexcept;

  /// Gives the last block up if it is shared, since growing will write to it; true if so, then grow() takes one block
  /// more for the copy. Of several tables that grow into the same block the last one that asks keeps it.
  bool give_up_last(BlockPool& pool) noexcept;
  /// Whether that copy is due to the tree of prefixes alone.
  bool copies_for_tree() const noexcept { return last_ == Last::to_copy; }
  /// Takes a last block that was given up back: nothing was grown.
  void take_back_last(BlockPool& pool) noexcept;
  /// Takes free blocks of the pool until there are n; returns where the first slots of a last block that was given up
  /// must be copied from and to, or nulls, also where the tree has let go of it meanwhile.
  std::pair<const std::byte*, std::byte*> grow(BlockPool& pool, int n) noexcept;

  /// How many of blocks [begin, end), all there, have other owners.
  int n_shared(const BlockPool& pool, int begin, int end) const noexcept;
  /// Puts a free block of the pool in the place of block b if that is shared; returns what must be copied from where to
  /// where, or nulls.
  std::pair<const std::byte*, std::byte*> unshare(BlockPool& pool, int b) noexcept;
  /// Leaves k ≤ n_gone() of the blocks at the front out: block b becomes block b − k.
  void renumber(int k) noexcept;
  /// Puts a free block of the pool before the first one that is there.
  void prepend(BlockPool& pool) noexcept;

  /// Drops blocks from the back until there are n, from the front until n are gone.
  void cut_back(BlockPool& pool, int n) noexcept;
  void cut_front(BlockPool& pool, int n) noexcept;

  /// Entries of blocks [first_block(), n_blocks()).
  std::byte* const* blocks() const noexcept { return blocks_; }
  int first_block() const noexcept { return base_; }
  BlockId id(int b) const noexcept { return ids_[b - base_]; }
  std::byte* block(int b) const noexcept { return blocks_[b - base_]; }
  int n_blocks() const noexcept { return n_blocks_; }  ///< those gone at the front included
  int n_gone() const noexcept { return n_gone_; }      ///< at the front

 private:
  void append(BlockId id, std::byte* block) noexcept;

  std::byte** blocks_;
  BlockId* ids_;
  int capacity_;
  int base_ = 0;  ///< number of the first entry's block; all before it are gone
  int n_blocks_ = 0;
  int n_gone_ = 0;
  enum class Last { own, given_up, to_copy } last_ = Last::own;  ///< between give_up_last() and what follows
};

/// One sequence: its length and a block table a group of layers.
class SequenceCache {
 public:
  explicit SequenceCache(std::vector<BlockTable> tables)
      : tables_(std::move(tables)), first_slots_(tables_.size(), 0) {}

  /// Becomes a second owner of what another sequence has committed; this one must be empty.
  void share(std::vector<BlockPool>& pools, const SequenceCache& other) noexcept;

  /// Adds the blocks that growing to n_slots in all, committed ones included, takes of each group to n_new. grow() or
  /// abandon() must follow.
  void plan(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots, std::span<int64_t> n_new) noexcept;
  void abandon(std::vector<BlockPool>& pools) noexcept;
  /// Takes the blocks that were planned; the pools must have them free.
  void grow(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept;
  /// Makes every slot committed.
  void commit() noexcept { len_ = n_slots_; }
  /// Gives back what no query at len − rollback_tokens or later attends to.
  void give_back(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept;
  /// Cuts to n_slots ≤ this->n_slots(), reserved ones first.
  void cut(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept;
  /// Empty, as when it was new.
  void clear(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept;
  /// Begins with len slots of blocks that were appended to the tables from outside; for an empty one.
  void begin_with(int len, int n_pure, int begin, std::span<const int> first_slots) noexcept;

  /// Counts committed slots up to len of blocks that are there.
  void lengthen(int len) noexcept { len_ = n_slots_ = len; }

  /// Whether all that queries at len and later attend to is still there.
  bool can_cut(const BlockLayout& layout, int len) const noexcept;

  /// Slots from `slot` on are no longer what their tokens alone would give.
  void mark_altered(int slot) noexcept { n_pure_ = slot < n_pure_ ? slot : n_pure_; }
  /// No window gives anything back; begin_at() does.
  void keep_front() noexcept { keeps_front_ = true; }
  /// After remove(): the slots from `first` on have moved down.
  void close_gap(const BlockLayout& layout, std::vector<BlockPool>& pools, int new_len, int first) noexcept;
  /// Everything before `slot` is gone, and what is left was altered: see KvCache::slide().
  void begin_at(const BlockLayout& layout, std::vector<BlockPool>& pools, int slot) noexcept;
  void set_first_slot(int group, int slot) noexcept { first_slots_[static_cast<size_t>(group)] = slot; }

  BlockTable& table(int group) noexcept { return tables_[static_cast<size_t>(group)]; }
  const BlockTable& table(int group) const noexcept { return tables_[static_cast<size_t>(group)]; }
  int len() const noexcept { return len_; }          ///< committed tokens
  int n_slots() const noexcept { return n_slots_; }  ///< those and the reserved ones
  /// Slots at the front whose keys and values are a function of the tokens before them alone.
  int n_pure() const noexcept { return n_pure_ < len_ ? n_pure_ : len_; }
  /// The first slot that a group still has.
  int first_slot(int group) const noexcept { return first_slots_[static_cast<size_t>(group)]; }
  /// Where begin_at() let it begin; 0: nowhere.
  int begin() const noexcept { return begin_; }

 private:
  static constexpr int kAll = 0x7FFFFFFF;

  std::vector<BlockTable> tables_;
  std::vector<int> first_slots_;  ///< by group
  int len_ = 0;
  int n_slots_ = 0;
  int n_pure_ = kAll;
  int begin_ = 0;
  bool keeps_front_ = false;
};

}  // namespace decant::cache
