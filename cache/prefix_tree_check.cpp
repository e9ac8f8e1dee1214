// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "decant/detail/format.h"

#include "cache/prefix_tree.h"

namespace decant::cache {

using detail::format;

void PrefixTree::visit(const std::function<void(const Visited&)>& f) const {
  std::vector<int32_t> place(static_cast<size_t>(nodes_.n_places()), -1);
  int32_t n_visited = 0;
  for (int priority = kMaxPriority; priority >= 0; --priority)
    for (int32_t node = used_[priority].last; node >= 0; node = nodes_[node].used.previous) {
      const PrefixNode& n = nodes_[node];
      place[node] = n_visited++;
      f({nodes_.salt(node), nodes_.is_root(n.parent) ? -1 : place[n.parent], nodes_.tokens(node), nodes_.blocks(node),
         n.priority});
    }
}

class PrefixTree::Checker {
 public:
  explicit Checker(const PrefixTree& tree) : tree_(tree), nodes_(tree.nodes_), order_(nodes_.n_places(), -1) {}

  std::string check() {
    if (std::string broken = check_order(); !broken.empty()) return broken;
    int64_t n_nodes = 0, n_tokens = 0;
    for (int32_t node = 0; node < nodes_.n_places(); ++node) {
      if (nodes_[node].n_tokens < 0) continue;
      if (std::string broken = check_children(node); !broken.empty()) return broken;
      if (nodes_.is_root(node)) {
        if (std::string broken = check_root(node); !broken.empty()) return broken;
        continue;
      }
      if (std::string broken = check_node(node); !broken.empty()) return broken;
      if (std::string broken = check_blocks(node); !broken.empty()) return broken;
      if (std::string broken = check_spares(node); !broken.empty()) return broken;
      ++n_nodes;
      n_tokens += nodes_[node].n_tokens;
    }
    if (n_nodes != nodes_.n_nodes() || n_tokens != nodes_.n_tokens())
      return format("{} nodes of {} tokens, {} of {} are counted", n_nodes, n_tokens, nodes_.n_nodes(),
                    nodes_.n_tokens());
    return check_pools();
  }

 private:
  // Where a node stands in the order of eviction goes to order_.
  std::string check_order() {
    int32_t n = 0;
    for (int32_t priority = 0; priority <= kMaxPriority; ++priority) {
      int32_t previous = -1;
      for (int32_t node = tree_.used_[priority].first; node >= 0; node = nodes_[node].used.next) {
        if (order_[node] >= 0) return format("node {} stands in the order of use twice", node);
        if (nodes_[node].priority != priority)
          return format("node {} of priority {} is in the list of {}", node, nodes_[node].priority, priority);
        if (nodes_[node].used.previous != previous) return format("node {}: broken list of use", node);
        order_[node] = n++;
        previous = node;
      }
      if (tree_.used_[priority].last != previous) return format("the list of priority {} ends elsewhere", priority);
    }
    std::set<int32_t> seen;
    for (int32_t node = tree_.spares_.first; node >= 0; node = nodes_[node].spares.next)
      if (!nodes_[node].in_spares || !seen.insert(node).second) return format("node {} is wrongly spare", node);
    n_spares_ = seen.size();
    return {};
  }

  std::string check_children(int32_t node) const {
    const PrefixNode& n = nodes_[node];
    int32_t n_children = 0, previous = -1;
    for (int32_t c = n.children.first; c >= 0; c = nodes_[c].siblings.next) {
      if (nodes_[c].parent != node || nodes_[c].siblings.previous != previous || ++n_children > n.n_children)
        return format("node {}: broken list of children", node);
      previous = c;
    }
    return n_children == n.n_children && n.children.last == previous
               ? std::string()
               : format("node {} has {} children, {} are counted", node, n_children, n.n_children);
  }

  std::string check_root(int32_t node) const {
    const PrefixNode& n = nodes_[node];
    if (n.n_children == 0) return format("root {} has nothing below", node);
    if (n.parent >= 0 || n.depth != -1 || n.priority >= 0 || n.hash != PrefixNodes::hash_salt(nodes_.salt(node)))
      return format("root {} isn't one", node);
    return nodes_.find_root(nodes_.salt(node), n.hash) == node ? std::string() : format("root {} isn't found", node);
  }

  std::string check_node(int32_t node) const {
    const PrefixNode& n = nodes_[node];
    const PrefixNode& above = nodes_[n.parent];
    if (n.n_tokens < 1 || n.n_tokens > tree_.block_tokens_) return format("node {} has {} tokens", node, n.n_tokens);
    if (n.n_tokens < tree_.block_tokens_ && n.n_children > 0) return format("partial node {} has children", node);
    if (n.depth != above.depth + 1 || n.salt != above.salt) return format("node {} isn't below its parent", node);
    if (n.hash != PrefixNodes::hash_tokens(above.hash, nodes_.tokens(node))) return format("node {}: bad hash", node);
    if (order_[node] < 0) return format("node {} isn't in the order of use", node);
    if (!nodes_.is_root(n.parent) && order_[n.parent] < order_[node])
      return format("node {} would be evicted before its child {}", n.parent, node);
    if (nodes_.find(n.parent, nodes_.tokens(node), n.hash) != node)
      return format("node {} isn't found by its tokens", node);
    bool found = false;
    for (int32_t c = nodes_.first_with(n.parent, nodes_.tokens(node).front()); c >= 0; c = nodes_.next_with(c)) {
      found = found || c == node;
      if (c != node && nodes_[c].n_tokens >= n.n_tokens &&
          std::ranges::equal(nodes_.tokens(c).first(static_cast<size_t>(n.n_tokens)), nodes_.tokens(node)))
        return format("node {} begins with its sibling {}", c, node);
    }
    return found ? std::string() : format("node {} isn't found by its first token", node);
  }

  std::string check_blocks(int32_t node) {
    size_t n_blocks = 0;
    for (size_t g = 0; g < tree_.pools_.size(); ++g) {
      const BlockId id = nodes_.blocks(node)[g];
      if (id.slab < 0) {
        if (tree_.windows_[g] == 0) return format("node {} lacks its block of group {}, which has no window", node, g);
        continue;
      }
      ++n_blocks;
      if (!tree_.pools_[g].held(id)) return format("node {} names a block of group {} that isn't held", node, g);
      if (!named_.emplace(g, id.slab, id.index).second)
        return format("node {} names a block of group {} that another names", node, g);
    }
    return n_blocks == 0 && nodes_[node].n_children == 0 ? format("leaf {} has no block", node) : std::string();
  }

  std::string check_spares(int32_t node) {
    const PrefixNode& n = nodes_[node];
    bool has_spare = false;
    if (tree_.max_below_ > 0 && n.below != tree_.count_below(node))
      return format("node {} is {} above an end, not {}", node, tree_.count_below(node), n.below);
    for (size_t g = 0; g < tree_.pools_.size(); ++g) has_spare = has_spare || tree_.is_spare(node, g);
    if (has_spare != n.in_spares) return format("node {} is wrongly listed as spare or not", node);
    n_spares_ -= has_spare;
    return {};
  }

  std::string check_pools() const {
    size_t n_held = 0;
    for (const BlockPool& pool : tree_.pools_) {
      int64_t n_idle = 0;
      for (const BlockPool::Slab& slab : pool.slabs()) {
        const int64_t before = n_idle;
        for (const BlockPool::Block& block : slab.blocks) {
          n_held += block.held;
          n_idle += block.held && block.owners == 1;
        }
        if (n_idle - before != slab.n_idle)
          return format("a slab has {} idle blocks, {} are counted", n_idle - before, slab.n_idle);
      }
      if (n_idle != pool.n_idle()) return format("a pool has {} idle blocks, {} are counted", n_idle, pool.n_idle());
    }
    if (n_held != named_.size()) return format("{} blocks are held, nodes name {}", n_held, named_.size());
    return n_spares_ == 0 ? std::string() : std::string("nodes are listed as spare that aren't there");
  }

  const PrefixTree& tree_;
  const PrefixNodes& nodes_;
  std::vector<int32_t> order_;
  std::set<std::tuple<size_t, int32_t, int32_t>> named_;
  size_t n_spares_ = 0;
};

std::string PrefixTree::broken_invariant() const { return Checker(*this).check(); }

}  // namespace decant::cache
