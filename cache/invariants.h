// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cache/sequence_cache.h"

namespace decant::cache {

/// Everything a cache knows of its blocks, copied out as plain data.
struct CacheState {
  struct Slab {
    const std::byte* data = nullptr;  ///< null: a vacant place
    size_t size_bytes = 0;
    std::vector<int32_t> owners;     ///< of each block
    std::vector<int32_t> free_list;  ///< block indices, in the list's order; ends early if the list is a circle
    int32_t n_used = 0;
    bool listed = false;  ///< stands in the pool's list of slabs with a free block
  };
  struct Group {
    int window = 0;
    size_t block_bytes = 0;
    int64_t n_used = 0;
    int64_t n_free = 0;
    std::vector<Slab> slabs;
  };
  struct Table {
    std::vector<BlockId> ids;
    std::vector<const std::byte*> blocks;
    int n_outlived = 0;
  };
  struct Sequence {
    int len = 0;
    int n_slots = 0;
    bool alive = false;
    std::vector<Table> tables;  ///< one a group
  };

  int block_tokens = 0;
  int max_tokens = 0;
  size_t limit_bytes = 0;
  size_t reserved_bytes = 0;
  bool reservation_alive = false;
  int n_free_sequences = 0;
  std::vector<Group> groups;
  std::vector<Sequence> sequences;
};

CacheState::Group copy_pool(const BlockPool& pool, int window);
CacheState::Table copy_table(const BlockTable& table);

/// A sentence about the first broken invariant, or empty:
/// - a block has exactly as many owners as tables name it, and is free exactly if it has none;
/// - free and used blocks are all blocks, no block is twice in a table or free list, no slab stands empty;
/// - a table names the memory of its blocks, is as long as its slots need, and lacks at its front only what a window
/// outlived;
/// - slabs are whole blocks, don't overlap, and their bytes add up to what is reserved, within the limit.
std::string broken_invariant(const CacheState& state);

}  // namespace decant::cache
