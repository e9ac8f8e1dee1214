// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "cache/block_pool.h"
#include "cache/prefix_tree.h"

namespace decant::cache::test {

inline constexpr int kBlockTokens = 4;
using Tokens = std::vector<int32_t>;
using Tables = std::vector<std::vector<BlockId>>;  ///< [n_groups][n_blocks], as a sequence has them

inline bool present(BlockId id) { return id.slab >= 0; }

/// Pools of one page a block, one a window, and a tree over them.
struct PrefixCase {
  explicit PrefixCase(std::vector<int> windows) : pools(make_pools(windows)), tree(pools, windows, kBlockTokens) {}

  std::vector<BlockPool> make_pools(const std::vector<int>& windows) {
    std::vector<BlockPool> made;
    made.reserve(windows.size());
    for (size_t g = 0; g < windows.size(); ++g) made.emplace_back(kPageBytes, int64_t{1} << 20, &budget);
    return made;
  }

  BlockId take(size_t group) {
    REQUIRE(pools[group].make_free(1, kHugePageBytes));
    return pools[group].take();
  }
  /// A sequence's blocks for n_tokens tokens, none of them outlived.
  Tables take_for(size_t n_tokens) {
    Tables tables(pools.size());
    for (size_t g = 0; g < pools.size(); ++g)
      for (size_t i = 0; i < n_tokens; i += kBlockTokens) tables[g].push_back(take(g));
    return tables;
  }
  void drop(Tables& tables) {
    for (size_t g = 0; g < tables.size(); ++g)
      for (BlockId& id : tables[g])
        if (present(id)) pools[g].drop(std::exchange(id, BlockId{}));
  }

  NodeId insert(std::string_view salt, const Tokens& tokens, const Tables& tables, int priority = 0) {
    const std::vector<std::span<const BlockId>> blocks(tables.begin(), tables.end());
    return tree.insert(salt, tokens, blocks, priority);
  }
  /// Known from a sequence that has ended: its blocks, unless others came first, are idle.
  void know(const Tokens& tokens, int priority = 0, std::string_view salt = "") {
    Tables tables = take_for(tokens.size());
    insert(salt, tokens, tables, priority);
    drop(tables);
  }

  SlabBudget budget;
  std::vector<BlockPool> pools;
  PrefixTree tree;
};

/// first, first + 1, … : n of them.
inline Tokens count_from(int32_t first, int n) {
  Tokens tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(first + i);
  return tokens;
}

inline Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace decant::cache::test
