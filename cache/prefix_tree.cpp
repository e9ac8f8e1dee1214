// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_tree.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "decant/detail/check.h"

namespace decant::cache {
namespace {

bool present(BlockId id) { return id.slab >= 0; }

int32_t common_tokens(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto [end, other] = std::ranges::mismatch(a, b);
  return static_cast<int32_t>(end - a.begin());
}

// The block that a table names, unless another node holds it: a tree names none twice.
BlockId offered(const BlockPool& pool, std::span<const BlockId> table, int32_t i) {
  if (static_cast<size_t>(i) >= table.size() || !present(table[i]) || pool.held(table[i])) return {};
  return table[i];
}

}  // namespace

PrefixTree::PrefixTree(std::span<BlockPool> pools, std::span<const int> windows, int block_tokens)
    : pools_(pools),
      windows_(windows.begin(), windows.end()),
      block_tokens_(block_tokens),
      nodes_(block_tokens, static_cast<int>(pools.size())),
      used_(kMaxPriority + 1),
      run_(pools.size()),
      max_idle_bytes_(std::numeric_limits<size_t>::max()) {
  DECANT_CHECK(pools.size() == windows.size() && block_tokens > 0, "one pool and one window a group");
  for (const int window : windows_) {
    const int32_t beyond = std::max(window - 2, 0);
    reach_.push_back(window == 0 ? -1 : beyond / block_tokens + (beyond % block_tokens != 0));
    max_below_ = std::max(max_below_, reach_.back() + 1);
  }
}

PrefixTree::~PrefixTree() { clear(); }

// Tokens of the i-th block: fewer than block_tokens, or none, at the end.
std::span<const int32_t> PrefixTree::block_at(std::span<const int32_t> tokens, int32_t i) const noexcept {
  const size_t first = std::min(static_cast<size_t>(i) * static_cast<size_t>(block_tokens_), tokens.size());
  return tokens.subspan(first, std::min(static_cast<size_t>(block_tokens_), tokens.size() - first));
}

PrefixTree::Path PrefixTree::walk(std::string_view salt, std::span<const int32_t> tokens) const noexcept {
  Path path;
  path.hash = PrefixNodes::hash_salt(salt);
  path.root = path.last = nodes_.find_root(salt, path.hash);
  while (path.last >= 0) {
    const auto next = block_at(tokens, path.n_full);
    if (next.size() < static_cast<size_t>(block_tokens_)) break;
    const uint64_t hash = PrefixNodes::hash_tokens(path.hash, next);
    const int32_t child = nodes_.find(path.last, next, hash);
    if (child < 0) break;
    path.hash = hash;
    path.last = child;
    ++path.n_full;
  }
  return path;
}

NodeId PrefixTree::insert(std::string_view salt, std::span<const int32_t> tokens, BlockTables blocks, int priority) {
  DECANT_CHECK(blocks.size() == pools_.size(), "a table a group");
  const Path path = walk(salt, tokens);
  const auto next = block_at(tokens, path.n_full);
  const int32_t covering = find_covering(path, next);
  const int32_t replaced = covering >= 0 ? -1 : find_start(path, next);
  const int32_t n_new = covering >= 0 ? 0 : count_new(tokens, path.n_full, blocks, replaced);
  int32_t node = path.last;
  if (covering >= 0 && nodes_.tokens(covering).size() == next.size()) node = covering;
  if (n_new > 0) {
    std::string text(path.root < 0 ? salt : std::string_view());
    nodes_.reserve(static_cast<size_t>(n_new) + (path.root < 0));
    // From here on nothing fails.
    if (path.root < 0) node = nodes_.add_root(std::move(text), path.hash);
    if (replaced >= 0) release_blocks(replaced);
    uint64_t hash = path.hash;
    for (int32_t i = path.n_full; i < path.n_full + n_new; ++i) {
      const auto block = block_at(tokens, i);
      hash = PrefixNodes::hash_tokens(hash, block);
      node = nodes_.add(node, block, hash);
      evicted_.remove(hash);
    }
  }
  if (node < 0 || nodes_.is_root(node)) return {};
  fill(node, blocks);
  if (n_new > 0) update_below(node);
  if (n_new > 0 && replaced >= 0) remove(replaced, false);
  use(node, std::clamp(priority, 0, kMaxPriority));
  return id_of(node, blocks);
}

// A partial leaf whose tokens the next ones go on from, or −1. There is one at most: else one would replace the other.
int32_t PrefixTree::find_start(const Path& path, std::span<const int32_t> next) const noexcept {
  if (path.last < 0) return -1;
  uint64_t hash = path.hash;
  for (size_t n = 1; n < next.size(); ++n) {
    hash = PrefixNodes::hash_token(hash, next[n - 1]);
    if (const int32_t child = nodes_.find(path.last, next.first(n), hash); child >= 0) return child;
  }
  return -1;
}

// A child that has all tokens of a last, partial block, or −1.
int32_t PrefixTree::find_covering(const Path& path, std::span<const int32_t> next) const noexcept {
  if (path.last < 0 || next.empty() || next.size() == static_cast<size_t>(block_tokens_)) return -1;
  int32_t child = nodes_.first_with(path.last, next.front());
  while (child >= 0 && static_cast<size_t>(common_tokens(nodes_.tokens(child), next)) < next.size())
    child = nodes_.next_with(child);
  return child;
}

// Nodes that insert() adds below n_known full ones.
int32_t PrefixTree::count_new(std::span<const int32_t> tokens, int32_t n_known, BlockTables blocks,
                              int32_t replaced) const noexcept {
  int32_t n = 0;
  for (int32_t i = n_known; !block_at(tokens, i).empty(); ++i) {
    bool any = false;
    for (size_t g = 0; g < pools_.size(); ++g) {
      const bool there = present(offered(pools_[g], blocks[g], i)) ||
                         (replaced >= 0 && static_cast<size_t>(i) < blocks[g].size() && present(blocks[g][i]) &&
                          blocks[g][i] == nodes_.blocks(replaced)[g]);
      if (!there && windows_[g] == 0) return n;
      any = any || there;
    }
    if (any) n = i - n_known + 1;
  }
  return n;
}

// Takes the caller's blocks where the path to a node lacks them.
void PrefixTree::fill(int32_t node, BlockTables blocks) noexcept {
  for (; !nodes_.is_root(node); node = nodes_[node].parent) {
    bool filled = false;
    for (size_t g = 0; g < pools_.size(); ++g) {
      BlockId& id = nodes_.blocks(node)[g];
      if (present(id)) continue;
      id = offered(pools_[g], blocks[g], nodes_[node].depth);
      if (!present(id)) continue;
      pools_[g].hold(id);
      filled = true;
    }
    if (filled) update_spares(node);
  }
}

NodeId PrefixTree::id_of(int32_t node, BlockTables blocks) const noexcept {
  const NodeId id{node, nodes_[node].generation};
  if (nodes_.is_full(node)) return id;
  const auto i = static_cast<size_t>(nodes_[node].depth);
  for (size_t g = 0; g < pools_.size(); ++g)
    if (i < blocks[g].size() && present(blocks[g][i]) && blocks[g][i] == nodes_.blocks(node)[g]) return id;
  return {};
}

void PrefixTree::use(int32_t node, int priority) noexcept {
  for (; !nodes_.is_root(node); node = nodes_[node].parent) {
    PrefixNode& n = nodes_[node];
    if (n.priority >= 0) nodes_.unlink<&PrefixNode::used>(used_[n.priority], node);
    n.priority = std::max(n.priority, priority);
    nodes_.push_back<&PrefixNode::used>(used_[n.priority], node);
  }
}

std::span<const BlockId> PrefixTree::to_take_back(NodeId id) const noexcept {
  if (id.index < 0 || id.index >= nodes_.n_places() || nodes_[id.index].generation != id.generation) return {};
  return nodes_.is_full(id.index) ? std::span<const BlockId>() : nodes_.blocks(id.index);
}

void PrefixTree::take_back(NodeId id) noexcept {
  if (!to_take_back(id).empty()) remove(id.index, false);
}

bool PrefixTree::has_block(int32_t node) const noexcept { return std::ranges::any_of(nodes_.blocks(node), present); }

int64_t PrefixTree::release_blocks(int32_t node) noexcept {
  int64_t n_released = 0;
  for (size_t g = 0; g < pools_.size(); ++g) {
    const BlockId id = std::exchange(nodes_.blocks(node)[g], BlockId{});
    if (!present(id)) continue;
    pools_[g].let_go(id);
    ++n_released;
  }
  return n_released;
}

// With the ancestors that are left without children and blocks, up to the root: a leaf always has a block.
void PrefixTree::remove(int32_t leaf, bool evicted) noexcept {
  for (int32_t node = leaf;;) {
    const PrefixNode& n = nodes_[node];
    const int32_t parent = n.parent;
    const int64_t n_released = release_blocks(node);
    if (evicted) {
      evicted_.add(n.hash);
      counters_.n_evicted_blocks += n_released;
      ++counters_.n_evicted_nodes;
    }
    if (n.in_spares) nodes_.unlink<&PrefixNode::spares>(spares_, node);
    nodes_.unlink<&PrefixNode::used>(used_[n.priority], node);
    nodes_.remove(node);
    if (nodes_[parent].n_children == 0 && nodes_.is_root(parent)) return nodes_.remove(parent);
    if (nodes_[parent].n_children > 0 || has_block(parent)) return update_below(parent);
    node = parent;
  }
}

PrefixMatch PrefixTree::match(std::string_view salt, std::span<const int32_t> tokens) {
  const Path path = walk(salt, tokens);
  PrefixMatch found;
  found.nodes.resize(static_cast<size_t>(path.n_full));
  // From here on nothing fails.
  int32_t node = path.last;
  for (auto place = found.nodes.rbegin(); place != found.nodes.rend(); ++place, node = nodes_[node].parent)
    *place = node;

  std::ranges::fill(run_, 0);
  for (int32_t i = 0; i < path.n_full; ++i) {
    count_runs(found.nodes[i]);
    if (usable((i + 1) * block_tokens_, -1)) found.n_tokens = (i + 1) * block_tokens_;
  }
  const int32_t n_full_tokens = path.n_full * block_tokens_;
  found.n_known = n_full_tokens;
  const auto next = block_at(tokens, path.n_full);
  if (path.last >= 0 && !next.empty()) {
    for (int32_t c = nodes_.first_with(path.last, next.front()); c >= 0; c = nodes_.next_with(c)) {
      const int32_t n_common = common_tokens(nodes_.tokens(c), next);
      found.n_known = std::max(found.n_known, n_full_tokens + n_common);
      if (n_common <= found.partial_tokens || !usable(n_full_tokens + n_common, c)) continue;
      found.partial_node = c;
      found.partial_tokens = n_common;
      found.n_tokens = n_full_tokens + n_common;
    }
  }
  found.nodes.resize(static_cast<size_t>(found.n_tokens / block_tokens_));

  if (static_cast<size_t>(found.n_tokens) == tokens.size())
    found.why = PrefixMiss::none;
  else if (found.n_tokens < found.n_known)
    found.why = PrefixMiss::window;
  else if (was_evicted(path.hash, next, found.n_known - n_full_tokens))
    found.why = PrefixMiss::evicted;
  else
    found.why = path.root < 0 ? PrefixMiss::unknown : PrefixMiss::diverged;

  if (path.last >= 0) use(found.partial_node >= 0 ? found.partial_node : path.last, 0);
  ++counters_.n_matches;
  counters_.n_hits += found.n_tokens > 0;
  counters_.n_hit_tokens += found.n_tokens;
  return found;
}

void PrefixTree::count_runs(int32_t node) noexcept {
  for (size_t g = 0; g < pools_.size(); ++g) run_[g] = present(nodes_.blocks(node)[g]) ? run_[g] + 1 : 0;
}

// Whether every group has the blocks of BlockLayout::outlived_blocks(n_tokens) and later. partial_node, or −1, comes
// after the runs that were counted.
bool PrefixTree::usable(int32_t n_tokens, int32_t partial_node) const noexcept {
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (windows_[g] == 0) continue;
    const int32_t n_blocks = (n_tokens - 1) / block_tokens_ + 1;
    const int32_t n_outlived = n_tokens < windows_[g] ? 0 : (n_tokens - windows_[g] + 1) / block_tokens_;
    int32_t run = run_[g];
    if (partial_node >= 0) run = present(nodes_.blocks(partial_node)[g]) ? run + 1 : 0;
    if (run < n_blocks - n_outlived) return false;
  }
  return true;
}

// Whether a node went that had more of the next block's tokens than are known. hash: of all before it.
bool PrefixTree::was_evicted(uint64_t hash, std::span<const int32_t> next, int32_t n_known) const noexcept {
  for (const int32_t token : next) {
    hash = PrefixNodes::hash_token(hash, token);
    if (n_known-- <= 0 && evicted_.contains(hash)) return true;
  }
  return false;
}

void PrefixTree::clear() noexcept {
  for (const NodeList& list : used_)
    for (int32_t node = list.first; node >= 0; node = nodes_[node].used.next) release_blocks(node);
  nodes_.clear();
  std::ranges::fill(used_, NodeList{});
  spares_ = {};
  evicted_.clear();
}

void PrefixTree::clear(std::string_view salt) noexcept {
  const int32_t root = nodes_.find_root(salt, PrefixNodes::hash_salt(salt));
  if (root < 0) return;
  const uint64_t generation = nodes_[root].generation;
  while (nodes_[root].generation == generation) {  // removing its last child removes the root
    int32_t leaf = root;
    while (nodes_[leaf].n_children > 0) leaf = nodes_[leaf].children.last;
    remove(leaf, false);
  }
}

size_t PrefixTree::idle_bytes() const noexcept {
  return std::accumulate(pools_.begin(), pools_.end(), size_t{0}, [](size_t bytes, const BlockPool& pool) {
    return bytes + static_cast<size_t>(pool.n_idle()) * pool.block_bytes();
  });
}

PrefixTreeStats PrefixTree::stats() const noexcept {
  PrefixTreeStats stats = counters_;
  stats.n_nodes = nodes_.n_nodes();
  stats.n_tokens = nodes_.n_tokens();
  stats.node_bytes = nodes_.heap_bytes() + windows_.capacity() * sizeof(int) + reach_.capacity() * sizeof(int32_t) +
                     used_.capacity() * sizeof(NodeList) + run_.capacity() * sizeof(int32_t) + evicted_.heap_bytes();
  stats.idle_bytes = idle_bytes();
  return stats;
}

}  // namespace decant::cache
