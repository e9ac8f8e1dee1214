// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "cache/prefix_tree.h"

namespace decant::cache {

bool PrefixTree::is_spare(int32_t node, size_t group) const noexcept {
  return reach_[group] >= 0 && nodes_[node].below > reach_[group] && nodes_.blocks(node)[group].slab >= 0;
}

int32_t PrefixTree::count_below(int32_t node) const noexcept {
  const PrefixNode& n = nodes_[node];
  return n.n_children != 1 ? 0 : std::min(nodes_[n.children.first].below + 1, max_below_);
}

// After a change at a node or below: up the path, until nothing changes any more. Counting ends at max_below_, so this
// is O(greatest window / block_tokens) beyond new nodes.
void PrefixTree::update_below(int32_t node) noexcept {
  if (max_below_ < 1) return;  // no group has a window
  for (; !nodes_.is_root(node); node = nodes_[node].parent) {
    const int32_t below = count_below(node);
    if (std::exchange(nodes_[node].below, below) == below) return;
    update_spares(node);
  }
}

void PrefixTree::update_spares(int32_t node) noexcept {
  bool has_spare = false;
  for (size_t g = 0; g < pools_.size(); ++g) has_spare = has_spare || is_spare(node, g);
  if (std::exchange(nodes_[node].in_spares, has_spare) == has_spare) return;
  if (has_spare)
    nodes_.push_back<&PrefixNode::spares>(spares_, node);
  else
    nodes_.unlink<&PrefixNode::spares>(spares_, node);
}

bool PrefixTree::evict_spares(int32_t node) noexcept {
  int64_t n_freed = 0;
  for (size_t g = 0; g < pools_.size(); ++g) {
    BlockId& id = nodes_.blocks(node)[g];
    if (!is_spare(node, g) || !pools_[g].idle(id)) continue;
    pools_[g].let_go(std::exchange(id, BlockId{}));
    ++n_freed;
  }
  counters_.n_evicted_blocks += n_freed;
  if (n_freed > 0) update_spares(node);
  return n_freed > 0;
}

bool PrefixTree::frees_a_block(int32_t leaf) const noexcept {
  for (size_t g = 0; g < pools_.size(); ++g) {
    const BlockId id = nodes_.blocks(leaf)[g];
    if (id.slab >= 0 && pools_[g].idle(id)) return true;
  }
  return false;
}

// A pass goes forward only. What it left once stays as it was, since only its own evictions change the tree: spares are
// appended, and a node's ancestors come after it in the lists of use.
bool PrefixTree::evict_next(EvictionPass& pass) noexcept {
  if (std::ranges::all_of(pools_, [](const BlockPool& pool) { return pool.n_idle() == 0; })) return false;
  for (;;) {
    // An end that moved up may have taken the place itself out of the list: then from the start.
    const bool from_start = pass.spare < 0 || !nodes_[pass.spare].in_spares;
    const int32_t node = from_start ? spares_.first : nodes_[pass.spare].spares.next;
    if (node < 0) break;
    if (evict_spares(node)) return true;
    pass.spare = node;
  }
  for (; pass.priority <= kMaxPriority; ++pass.priority, pass.leaf = -1) {
    for (;;) {
      const int32_t node = pass.leaf < 0 ? used_[pass.priority].first : nodes_[pass.leaf].used.next;
      if (node < 0) break;
      if (nodes_[node].n_children == 0 && frees_a_block(node)) {
        remove(node, true);
        return true;
      }
      pass.leaf = node;
    }
  }
  return false;
}

void PrefixTree::trim_to_budget() noexcept {
  evict_until([this] { return idle_bytes() <= max_idle_bytes_; });
}

}  // namespace decant::cache
