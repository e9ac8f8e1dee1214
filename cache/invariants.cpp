// SPDX-License-Identifier: Apache-2.0
#include "cache/invariants.h"

#include <algorithm>
#include <utility>

#include "decant/detail/format.h"

namespace decant::cache {
namespace {

using detail::format;

// How often the tables of all sequences name each block of a group: [slab][index].
using Counts = std::vector<std::vector<int32_t>>;

bool names_block(const CacheState::Group& group, BlockId id) {
  return id.slab >= 0 && id.slab < static_cast<int32_t>(group.slabs.size()) && id.index >= 0 &&
         id.index < static_cast<int32_t>(group.slabs[id.slab].owners.size());
}

std::string check_table(const CacheState& state, size_t g, size_t s, Counts& named) {
  const CacheState::Group& group = state.groups[g];
  const CacheState::Sequence& sequence = state.sequences[s];
  const CacheState::Table& table = sequence.tables[g];
  const int n_blocks = table.first_block + static_cast<int>(table.ids.size());
  const int needed = (sequence.n_slots + state.block_tokens - 1) / state.block_tokens;
  if (n_blocks != needed)
    return format("sequence {} group {}: {} blocks, {} slots need {}", s, g, n_blocks, sequence.n_slots, needed);
  const int outlived = group.window == 0 ? 0 : std::max(0, sequence.len - group.window + 1);
  if (const int gone = std::max(outlived, sequence.begin); table.first_slot > gone)
    return format("sequence {} group {}: slots before {} are gone, only those before {} may be", s, g, table.first_slot,
                  gone);
  if (table.n_gone > table.first_slot / state.block_tokens || table.n_gone < table.first_block)
    return format("sequence {} group {}: {} blocks are gone, slots from {} on are there", s, g, table.n_gone,
                  table.first_slot);
  for (int b = table.first_block; b < n_blocks; ++b) {
    const int i = b - table.first_block;
    const BlockId id = table.ids[i];
    if (b < table.n_gone) {
      if (table.blocks[i] != nullptr) return format("sequence {} group {}: gone block {} isn't null", s, g, b);
      continue;
    }
    if (!names_block(group, id)) return format("sequence {} group {}: block {} names no block of the pool", s, g, b);
    const bool written = sequence.n_slots > sequence.len && (b + 1) * state.block_tokens > sequence.len;
    if (written && group.slabs[id.slab].owners[id.index] > 1)
      return format("sequence {} group {}: block {} is being written and shared", s, g, b);
    if (table.blocks[i] != group.slabs[id.slab].data + static_cast<size_t>(id.index) * group.block_bytes)
      return format("sequence {} group {}: block {} points elsewhere", s, g, b);
    ++named[id.slab][id.index];
  }
  std::vector<const std::byte*> blocks(table.blocks.begin() + (table.n_gone - table.first_block), table.blocks.end());
  std::sort(blocks.begin(), blocks.end());
  const auto twice = std::adjacent_find(blocks.begin(), blocks.end());
  return twice == blocks.end() ? std::string()
                               : format("sequence {} group {}: a block stands in the table twice", s, g);
}

std::string check_slab(const CacheState& state, size_t g, size_t b, const std::vector<int32_t>& named) {
  const CacheState::Group& group = state.groups[g];
  const CacheState::Slab& slab = group.slabs[b];
  const auto n_blocks = static_cast<int32_t>(slab.owners.size());
  if (slab.data == nullptr) {
    const bool vacant = n_blocks == 0 && slab.size_bytes == 0 && slab.n_used == 0 && !slab.listed;
    return vacant ? std::string() : format("group {}: vacant slab {} isn't empty", g, b);
  }
  if (slab.size_bytes != static_cast<size_t>(n_blocks) * group.block_bytes)
    return format("group {}: slab {} has {} bytes for {} blocks of {}", g, b, slab.size_bytes, n_blocks,
                  group.block_bytes);
  for (int32_t i = 0; i < n_blocks; ++i)
    if (slab.owners[i] != named[i] + slab.held[i])
      return format("group {}: slab {} block {} has {} owners, tables name it {} times, the tree {}", g, b, i,
                    slab.owners[i], named[i], slab.held[i] ? "once" : "never");
  std::vector<bool> listed(slab.owners.size(), false);
  for (const int32_t i : slab.free_list) {
    if (i < 0 || i >= n_blocks || listed[i]) return format("group {}: slab {}: bad or circular free list", g, b);
    if (slab.owners[i] != 0) return format("group {}: slab {} block {} is free but owned", g, b, i);
    listed[i] = true;
  }
  const auto n_free = static_cast<int32_t>(slab.free_list.size());
  if (slab.n_used + n_free != n_blocks)
    return format("group {}: slab {}: {} used and {} free of {} blocks", g, b, slab.n_used, n_free, n_blocks);
  if (slab.n_used == 0) return format("group {}: slab {} stands empty", g, b);
  if (slab.listed != (n_free > 0)) return format("group {}: slab {} is in the wrong list", g, b);
  return {};
}

std::string check_bytes(const CacheState& state) {
  size_t sum = 0;
  std::vector<std::pair<const std::byte*, size_t>> runs;
  for (const CacheState::Group& group : state.groups)
    for (const CacheState::Slab& slab : group.slabs)
      if (slab.data != nullptr) {
        sum += slab.size_bytes;
        runs.emplace_back(slab.data, slab.size_bytes);
      }
  for (const CacheState::Sequence& sequence : state.sequences) sum += sequence.sink_bytes;
  if (sum != state.reserved_bytes) return format("slabs have {} bytes, {} are counted", sum, state.reserved_bytes);
  if (sum > state.limit_bytes) return format("slabs have {} bytes, the limit is {}", sum, state.limit_bytes);
  std::sort(runs.begin(), runs.end());
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[i - 1].first + runs[i - 1].second > runs[i].first) return "two slabs overlap";
  return {};
}

std::string check_sequence(const CacheState& state, size_t s) {
  const CacheState::Sequence& sequence = state.sequences[s];
  if (sequence.len < 0 || sequence.len > sequence.n_slots || sequence.n_slots - sequence.begin > state.max_tokens)
    return format("sequence {}: {} tokens in {} slots", s, sequence.len, sequence.n_slots);
  if (!sequence.alive && sequence.n_slots != 0) return format("sequence {} is gone but has slots", s);
  if (!state.reservation_alive && sequence.n_slots != sequence.len)
    return format("sequence {} has reserved slots, but no reservation is alive", s);
  return {};
}

// Every block that a node names is marked as the tree's, once, and no other is.
std::string check_held(const CacheState& state, size_t g) {
  const CacheState::Group& group = state.groups[g];
  size_t n_marked = 0;
  for (const CacheState::Slab& slab : group.slabs)
    n_marked += static_cast<size_t>(std::count(slab.held.begin(), slab.held.end(), true));
  if (n_marked != state.held[g].size())
    return format("group {}: {} blocks are marked as the tree's, its nodes name {}", g, n_marked, state.held[g].size());
  for (const BlockId id : state.held[g])
    if (!names_block(group, id) || !group.slabs[id.slab].held[id.index])
      return format("group {}: the tree names a block that isn't marked as its own", g);
  return {};
}

}  // namespace

CacheState::Group copy_pool(const BlockPool& pool, int window) {
  CacheState::Group group;
  group.window = window;
  group.block_bytes = pool.block_bytes();
  group.n_used = pool.n_used();
  group.n_free = pool.n_free();
  for (const BlockPool::Slab& slab : pool.slabs()) {
    CacheState::Slab copy;
    copy.data = slab.memory.data();
    copy.size_bytes = slab.memory.size_bytes();
    copy.n_used = slab.n_used;
    for (const BlockPool::Block& block : slab.blocks) {
      copy.owners.push_back(block.owners);
      copy.held.push_back(block.held);
    }
    const auto n_blocks = static_cast<int32_t>(slab.blocks.size());
    for (int32_t i = slab.first_free; i >= 0 && copy.free_list.size() <= slab.blocks.size();) {
      copy.free_list.push_back(i);
      i = i < n_blocks ? slab.blocks[i].next_free : -1;
    }
    group.slabs.push_back(std::move(copy));
  }
  std::vector<bool> seen(group.slabs.size(), false);
  for (int32_t s = pool.first_with_free(); s >= 0 && !seen[s]; s = pool.slabs()[s].next) {
    seen[s] = true;
    group.slabs[s].listed = true;
  }
  return group;
}

CacheState::Table copy_table(const BlockTable& table, int first_slot) {
  CacheState::Table copy;
  copy.first_block = table.first_block();
  copy.n_gone = table.n_gone();
  copy.first_slot = first_slot;
  for (int b = table.first_block(); b < table.n_blocks(); ++b) {
    copy.ids.push_back(table.id(b));
    copy.blocks.push_back(table.block(b));
  }
  return copy;
}

std::string broken_invariant(const CacheState& state) {
  int n_dead = 0;
  for (size_t s = 0; s < state.sequences.size(); ++s) {
    n_dead += !state.sequences[s].alive;
    if (std::string broken = check_sequence(state, s); !broken.empty()) return broken;
  }
  if (n_dead != state.n_free_sequences)
    return format("{} sequences are gone, {} places are free", n_dead, state.n_free_sequences);
  if (!state.broken_tree.empty()) return state.broken_tree;
  for (size_t g = 0; g < state.groups.size(); ++g) {
    const CacheState::Group& group = state.groups[g];
    if (std::string broken = check_held(state, g); !broken.empty()) return broken;
    Counts named;
    for (const CacheState::Slab& slab : group.slabs) named.emplace_back(slab.owners.size(), 0);
    for (size_t s = 0; s < state.sequences.size(); ++s)
      if (std::string broken = check_table(state, g, s, named); !broken.empty()) return broken;
    int64_t n_used = 0, n_blocks = 0;
    for (size_t b = 0; b < group.slabs.size(); ++b) {
      if (std::string broken = check_slab(state, g, b, named[b]); !broken.empty()) return broken;
      n_used += group.slabs[b].n_used;
      n_blocks += static_cast<int64_t>(group.slabs[b].owners.size());
    }
    if (n_used != group.n_used || n_blocks != group.n_used + group.n_free)
      return format("group {}: counts {} used and {} free, slabs hold {} used of {}", g, group.n_used, group.n_free,
                    n_used, n_blocks);
  }
  return check_bytes(state);
}

}  // namespace decant::cache
