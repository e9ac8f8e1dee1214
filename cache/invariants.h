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
    std::vector<bool> held;          ///< of each block: the tree of prefixes is one of its owners
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
    int first_block = 0;  ///< number of the first entry's block
    int n_gone = 0;       ///< blocks that are gone at the front, counted from block 0
    int first_slot = 0;   ///< slots before it are gone
  };
  struct Sequence {
    int len = 0;
    int n_slots = 0;
    int begin = 0;  ///< where slide() let it begin
    size_t sink_bytes = 0;
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
  std::vector<std::vector<BlockId>> held;  ///< by group: blocks that nodes of the tree of prefixes name
  std::string broken_tree;                 ///< what the tree says of itself
};

CacheState::Group copy_pool(const BlockPool& pool, int window);
CacheState::Table copy_table(const BlockTable& table, int first_slot);

/// A sentence about the first broken invariant, or empty:
/// - a block has exactly as many owners as tables and nodes of the tree name it, and is free exactly if it has none;
/// the tree names it at most once;
/// - free and used blocks are all blocks, no block is twice in a table or free list, no slab stands empty;
/// - a table names the memory of its blocks, is as long as its slots need, and lacks at its front only what a window
/// outlived or what lies before the sinks;
/// - a block that more than one names is never one that a sequence may still write to;
/// - slabs are whole blocks, don't overlap, and their bytes and those of sinks add up to what is reserved, within the
/// limit.
std::string broken_invariant(const CacheState& state);

}  // namespace decant::cache
