// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "cache/mapping.h"

namespace decant::cache {

/// Names a block of a pool.
struct BlockId {
  int32_t slab = -1;
  int32_t index = -1;
  bool operator==(const BlockId&) const = default;
};

/// Bytes that all pools of a cache may take together.
struct SlabBudget {
  size_t limit_bytes = std::numeric_limits<size_t>::max();
  size_t reserved_bytes = 0;
  size_t left_bytes() const noexcept { return limit_bytes - reserved_bytes; }
};

/// Blocks of one size, counted by their owners, in slabs that are taken from the operating system on demand.
///
/// A slab is between 2 and 16 MiB, growing with the pool (or one block, if that is larger; less near a limit), and
/// comes faulted in. A slab whose last block is dropped goes back at once. Not thread-safe.
///
/// Owners are block tables, all alike, and at most one prefix tree, which holds a block. A block that the tree alone
/// owns is idle: nobody computes with it, and evicting it makes room.
class BlockPool {
 public:
  /// block_bytes: whole pages. max_blocks: more are seldom asked for, so no slab goes beyond without need. The budget
  /// is shared and must outlive the pool.
  BlockPool(size_t block_bytes, int64_t max_blocks, SlabBudget* budget) noexcept
      : block_bytes_(block_bytes), max_blocks_(max_blocks), budget_(budget) {}
  BlockPool(BlockPool&& other) noexcept;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  /// Bytes of new slabs that it takes at least to have n free blocks.
  size_t missing_bytes(int64_t n) const noexcept {
    return n <= n_free_ ? 0 : static_cast<size_t>(n - n_free_) * block_bytes_;
  }

  /// Takes slabs until n blocks are free, where missing_bytes(n) are left in the budget; spends at most spare_bytes of
  /// the budget beside, to have fewer, larger slabs. False if the operating system has no more: then, and after
  /// bad_alloc, trim() gives back what was taken. Afterwards take() is due n times, so that no slab stays empty.
  bool make_free(int64_t n, size_t spare_bytes);
  /// Gives slabs without a used block back.
  void trim() noexcept;

  /// A free block, now owned once; one must be free. Its contents are whatever they were.
  BlockId take() noexcept;
  /// One more owner of a block that has been taken.
  void share(BlockId id) noexcept {
    if (idle(id)) count_idle(id.slab, -1);
    ++slabs_[id.slab].blocks[id.index].owners;
  }
  /// Ends one owner's hold of a block; the last one's frees it.
  void drop(BlockId id) noexcept;

  /// The prefix tree becomes an owner of a block that has been taken and that it doesn't hold.
  void hold(BlockId id) noexcept;
  /// Ends the tree's hold of a block; frees it if it was idle.
  void let_go(BlockId id) noexcept;

  std::byte* data(BlockId id) const noexcept {
    return slabs_[id.slab].memory.data() + static_cast<size_t>(id.index) * block_bytes_;
  }
  int32_t owners(BlockId id) const noexcept { return slabs_[id.slab].blocks[id.index].owners; }
  /// Whether the tree is one of the owners.
  bool held(BlockId id) const noexcept { return slabs_[id.slab].blocks[id.index].held; }
  /// Whether the tree is the only one.
  bool idle(BlockId id) const noexcept { return held(id) && owners(id) == 1; }

  size_t block_bytes() const noexcept { return block_bytes_; }
  int64_t n_used() const noexcept { return n_used_; }
  int64_t n_free() const noexcept { return n_free_; }
  int64_t n_idle() const noexcept { return n_idle_; }
  /// Bytes of slabs whose used blocks are all idle: what evicting every idle block gives back. O(slabs).
  size_t returnable_bytes() const noexcept;

  struct Block {
    int32_t owners = 0;      ///< the tree included
    int32_t next_free = -1;  ///< index in the slab; meaningful while there is no owner
    bool held = false;       ///< the tree is an owner
  };
  struct Slab {
    Mapping memory;  ///< empty: this place is vacant
    std::vector<Block> blocks;
    int32_t n_used = 0;
    int32_t n_idle = 0;
    int32_t first_free = -1;
    int32_t previous = -1;  ///< neighbours in the list of slabs with a free block
    int32_t next = -1;
  };
  /// For check_invariants().
  const std::vector<Slab>& slabs() const noexcept { return slabs_; }
  int32_t first_with_free() const noexcept { return first_; }

 private:
  bool add_slab(int64_t n_blocks);
  void remove_slab(int32_t s) noexcept;
  void link_front(int32_t s) noexcept;
  void link_back(int32_t s) noexcept;
  void unlink(int32_t s) noexcept;
  void count_idle(int32_t s, int32_t n) noexcept {
    slabs_[s].n_idle += n;
    n_idle_ += n;
  }

  size_t block_bytes_;
  int64_t max_blocks_;
  SlabBudget* budget_;
  std::vector<Slab> slabs_;
  int32_t first_ = -1;  ///< list of slabs with a free block
  int32_t last_ = -1;
  int64_t n_used_ = 0;
  int64_t n_free_ = 0;
  int64_t n_idle_ = 0;
};

}  // namespace decant::cache
