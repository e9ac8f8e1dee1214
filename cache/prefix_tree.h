// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/stats.h"

#include "cache/block_pool.h"
#include "cache/prefix_nodes.h"
#include "cache/recent_hashes.h"

namespace decant::cache {

/// The longest known prefix of some tokens. Nodes are good until the tree changes; match() doesn't count.
struct PrefixMatch {
  std::vector<int32_t> nodes;  ///< n_tokens / block_tokens full ones, in order
  int32_t partial_node = -1;   ///< whose first partial_tokens tokens come next: its blocks are to be copied; −1: none
  int32_t partial_tokens = 0;  ///< below block_tokens
  int32_t n_tokens = 0;        ///< usable: every group has all the blocks that a table of n_tokens keeps
  int32_t n_known = 0;         ///< ≥ n_tokens: tokens known if windows are ignored
  PrefixMiss why = PrefixMiss::none;
};

/// Names a node; stays the name of none once the node is gone.
struct NodeId {
  int32_t index = -1;
  uint64_t generation = 0;
  bool operator==(const NodeId&) const = default;
};

struct PrefixTreeStats {
  int64_t n_nodes = 0;
  int64_t n_tokens = 0;      ///< of all nodes: what can be known without computing
  size_t node_bytes = 0;     ///< the tree's own heap; blocks are the pools'
  size_t idle_bytes = 0;     ///< of blocks that only the tree owns
  int64_t n_matches = 0;     ///< calls of match()
  int64_t n_hits = 0;        ///< those that found tokens to use
  int64_t n_hit_tokens = 0;  ///< tokens they found
  int64_t n_evicted_nodes = 0;
  int64_t n_evicted_blocks = 0;  ///< with those that a node lost and outlived
};

/// Token prefixes and the blocks that hold their keys and values, shared by all sequences of a cache. Not thread-safe.
///
///   salt "" ─┬─ [system prompt, 16 tokens] ── [16 tokens] ─┬─ [16 tokens] ── [5 tokens]     a leaf may be partial
///            │   a block of each group         …           └─ [16 tokens]
///            └─ [another prompt]                              a branch point: two went on from here
///
/// A node is block_tokens tokens below its parent, with a block of each group; a group with a window may lack its own.
/// Only a leaf may have fewer tokens. The tree is one owner of each block it names and names none twice; blocks are
/// filled by their sequences, and those of full nodes never change again. Look-ups compare salts and tokens in full;
/// hashes only find where to look.
///
/// Use and priority. Nodes of a priority stand in one list by last use. Whoever uses a node uses the path to it,
/// deepest node first, and a priority is raised along the whole path and never falls; so a node comes before its
/// ancestors.
///
/// Eviction gives back, in this order, only what frees a block that no sequence owns:
///  1. Spare blocks: blocks of groups with windows, in interior nodes, that no end needs. An end is a node without or
///     with several children: there a sequence stopped, or left another's path. A node `below` levels above the nearest
///     end needs its block in a group with window w while below ≤ ⌈(w − 2) / block_tokens⌉. The node that has had spare
///     blocks for longest comes first. The node stays, as do its other blocks: a longer prefix still finds them, one
///     that ends here has to be computed again (PrefixMiss::window).
///  2. Leaves, with all their blocks: lowest priority, then least recently used. An ancestor that it leaves without
///     children and blocks goes with it.
class PrefixTree {
 public:
  static constexpr int kMaxPriority = 100;

  /// pools and windows: one a group, windows as in KvLayerShape (0: none). The pools must outlive the tree and stay
  /// where they are. May throw bad_alloc.
  PrefixTree(std::span<BlockPool> pools, std::span<const int> windows, int block_tokens);
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;
  ~PrefixTree();

  /// Makes tokens known, block by block. blocks[group][i] holds tokens from i · block_tokens on; the default BlockId
  /// (or a span's end) is a block that its window outlived, or that the caller lacks.
  ///
  /// What is known stays as it is, but gets the blocks it lacks. A last, partial block becomes a leaf, unless children
  /// know those tokens already; a partial leaf that is a prefix of a new node goes. Ends early where a new node lacks a
  /// block without a window, and before new nodes at the end that have no block at all. The path is used, with a
  /// priority of at least `priority` (0 to kMaxPriority, else the nearer of these).
  ///
  /// Returns the last node it came to, for take_back(), or none if that is a partial leaf of other blocks than the
  /// caller's. On bad_alloc nothing has changed. O(tokens), and as match() for a partial block at the end.
  NodeId insert(std::string_view salt, std::span<const int32_t> tokens,
                std::span<const std::span<const BlockId>> blocks, int priority);

  /// Removes the node if it is still there and partial: its sequence may then write to the block in place.
  void take_back(NodeId node) noexcept;
  /// What take_back() would let go of: the node's blocks, one a group, or nothing.
  std::span<const BlockId> to_take_back(NodeId node) const noexcept;

  /// The longest known prefix of tokens under a salt; the full nodes on its way are used, and partial_node. Of the
  /// boundaries between blocks and the longest common starts with one more child, it takes the longest usable. On
  /// bad_alloc nothing has changed. O(tokens), and O(children that begin with the same token) at its end.
  PrefixMatch match(std::string_view salt, std::span<const int32_t> tokens);

  /// Blocks of a node, one a group; the default BlockId where it lacks one. And its tokens.
  std::span<const BlockId> blocks(int32_t node) const noexcept { return nodes_.blocks(node); }
  std::span<const int32_t> tokens(int32_t node) const noexcept { return nodes_.tokens(node); }

  /// Evicts the least valuable thing that frees a block; false if nothing does.
  bool evict_one() noexcept {
    EvictionPass pass;
    return evict_next(pass);
  }
  /// Evicts in the same order until enough() is true; false if it never was. Looks at each node once at most, so that a
  /// block costs O(1) however many nodes are in use. enough() must not change the tree or the pools.
  template <typename Enough>
  bool evict_until(Enough&& enough) {
    EvictionPass pass;
    while (!enough())
      if (!evict_next(pass)) return false;
    return true;
  }

  /// Bytes of blocks that only the tree owns, all groups together.
  size_t idle_bytes() const noexcept;
  /// What trim_to_budget() leaves of them at most; no limit at first.
  void set_max_idle_bytes(size_t bytes) noexcept { max_idle_bytes_ = bytes; }
  void trim_to_budget() noexcept;

  /// Forgets everything, or everything under a salt. That isn't eviction and isn't counted as such.
  void clear() noexcept;
  void clear(std::string_view salt) noexcept;

  PrefixTreeStats stats() const noexcept;

  /// A node as visit() shows it; views are good during the call.
  struct Visited {
    std::string_view salt;
    int32_t parent = -1;  ///< how many nodes were visited before it; −1: none, it begins a prefix
    std::span<const int32_t> tokens;
    std::span<const BlockId> blocks;  ///< one a group, default where it lacks one
    int priority = 0;
  };
  /// Every node, parents first: the one that would be evicted last comes first. Inserting each node's prefix in the
  /// opposite order into an empty tree gives the same order of use there. May throw bad_alloc.
  void visit(const std::function<void(const Visited&)>& f) const;

  /// A sentence about the first broken invariant, or empty. For tests: O(nodes), and it looks at every block.
  std::string broken_invariant() const;

 private:
  /// How far an eviction has come: what it looked at last and left in its place, in each order.
  struct EvictionPass {
    int32_t spare = -1;
    int32_t leaf = -1;
    int priority = 0;
  };
  struct Path {
    int32_t root = -1;
    int32_t last = -1;  ///< the deepest node, or the root
    int32_t n_full = 0;
    uint64_t hash = 0;  ///< of salt and tokens up to last
  };
  class Checker;

  using BlockTables = std::span<const std::span<const BlockId>>;

  std::span<const int32_t> block_at(std::span<const int32_t> tokens, int32_t i) const noexcept;
  Path walk(std::string_view salt, std::span<const int32_t> tokens) const noexcept;
  int32_t find_start(const Path& path, std::span<const int32_t> next) const noexcept;
  int32_t find_covering(const Path& path, std::span<const int32_t> next) const noexcept;
  NodeId id_of(int32_t node, BlockTables blocks) const noexcept;
  int32_t count_new(std::span<const int32_t> tokens, int32_t n_known, BlockTables blocks,
                    int32_t replaced) const noexcept;
  void fill(int32_t node, BlockTables blocks) noexcept;
  void use(int32_t node, int priority) noexcept;
  void remove(int32_t leaf, bool evicted) noexcept;
  int64_t release_blocks(int32_t node) noexcept;
  bool has_block(int32_t node) const noexcept;

  void count_runs(int32_t node) noexcept;
  bool usable(int32_t n_tokens, int32_t partial_node) const noexcept;
  bool was_evicted(uint64_t hash, std::span<const int32_t> next, int32_t n_known) const noexcept;

  bool is_spare(int32_t node, size_t group) const noexcept;
  int32_t count_below(int32_t node) const noexcept;
  void update_below(int32_t node) noexcept;
  void update_spares(int32_t node) noexcept;

  bool evict_next(EvictionPass& pass) noexcept;
  bool evict_spares(int32_t node) noexcept;
  bool frees_a_block(int32_t leaf) const noexcept;

  std::span<BlockPool> pools_;
  std::vector<int> windows_;
  std::vector<int32_t> reach_;  ///< by group: greatest `below` at which its block is needed; −1: no window
  int32_t max_below_ = -1;      ///< greatest reach plus one; `below` isn't counted further
  int32_t block_tokens_;
  PrefixNodes nodes_;
  std::vector<NodeList> used_;  ///< by priority
  NodeList spares_;             ///< nodes with spare blocks
  std::vector<int32_t> run_;    ///< scratch of match(), by group: blocks present without a gap up to here
  RecentHashes evicted_;        ///< of nodes; for PrefixMiss::evicted only
  size_t max_idle_bytes_;
  PrefixTreeStats counters_;  ///< what only counts up
};

}  // namespace decant::cache
