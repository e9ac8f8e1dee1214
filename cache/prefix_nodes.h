// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/block_pool.h"

namespace decant::cache {

/// A node's place in a list, and a list: indices of nodes, −1 is none.
struct NodeLink {
  int32_t previous = -1;
  int32_t next = -1;
};
struct NodeList {
  int32_t first = -1;
  int32_t last = -1;
};

/// One block's worth of tokens below its parent. A salt has a root without tokens, the parent of its first blocks.
struct PrefixNode {
  uint64_t hash = 0;        ///< of the salt and every token up to the node's last
  uint64_t generation = 0;  ///< of this node; no later node has it
  int32_t parent = -1;      ///< root: −1
  int32_t salt = -1;
  int32_t depth = -1;     ///< index of its block in a sequence; root: −1
  int32_t n_tokens = -1;  ///< root: 0, vacant place: −1
  int32_t n_children = 0;
  int32_t priority = -1;  ///< −1: in no list of use
  int32_t below = -1;     ///< levels down to the nearest end, see PrefixTree; −1: not known yet
  bool in_spares = false;
  NodeList children;
  NodeLink siblings;
  NodeLink used;        ///< neighbours among nodes of the priority, least recently used first
  NodeLink spares;      ///< … among nodes with spare blocks
  NodeLink same_hash;   ///< … in a bucket of nodes by hash
  NodeLink same_first;  ///< … in a bucket of nodes by parent and first token
};

/// The nodes of a prefix tree, their tokens and block ids, and the look-up of children: storage only, it knows no pool
/// and holds no block. Indices stay until the node is removed. Not thread-safe.
///
/// Everything lies in a few arrays: block_tokens ids and n_groups block ids a node. Room for nodes is taken beforehand
/// by reserve(), so that adding them cannot fail.
class PrefixNodes {
 public:
  PrefixNodes(int block_tokens, int n_groups) noexcept
      : block_tokens_(static_cast<size_t>(block_tokens)), n_groups_(static_cast<size_t>(n_groups)) {}

  static uint64_t hash_salt(std::string_view salt) noexcept;
  static uint64_t hash_token(uint64_t before, int32_t token) noexcept;
  static uint64_t hash_tokens(uint64_t before, std::span<const int32_t> tokens) noexcept;

  /// Room for n_nodes more, roots and their salts included. On bad_alloc nothing has changed.
  void reserve(size_t n_nodes);
  int32_t add_root(std::string&& salt, uint64_t hash) noexcept;
  /// A child without blocks, 1 to block_tokens tokens.
  int32_t add(int32_t parent, std::span<const int32_t> tokens, uint64_t hash) noexcept;
  /// A node without children.
  void remove(int32_t node) noexcept;
  /// Forgets every node and gives its memory back.
  void clear() noexcept;

  /// −1 if there is none.
  int32_t find_root(std::string_view salt, uint64_t hash) const noexcept;
  /// The child with exactly these tokens, or −1. hash: of all tokens up to their last.
  int32_t find(int32_t parent, std::span<const int32_t> tokens, uint64_t hash) const noexcept;
  /// Children, full and partial, that begin with a token: the first of them, and the one after a child; −1 at the end.
  int32_t first_with(int32_t parent, int32_t token) const noexcept;
  int32_t next_with(int32_t child) const noexcept;

  PrefixNode& operator[](int32_t node) noexcept { return nodes_[node]; }
  const PrefixNode& operator[](int32_t node) const noexcept { return nodes_[node]; }
  bool is_root(int32_t node) const noexcept { return (*this)[node].n_tokens == 0; }
  bool is_full(int32_t node) const noexcept { return static_cast<size_t>((*this)[node].n_tokens) == block_tokens_; }
  std::span<const int32_t> tokens(int32_t node) const noexcept {
    return {tokens_.data() + static_cast<size_t>(node) * block_tokens_, static_cast<size_t>((*this)[node].n_tokens)};
  }
  std::span<BlockId> blocks(int32_t node) noexcept {
    return {blocks_.data() + static_cast<size_t>(node) * n_groups_, n_groups_};
  }
  std::span<const BlockId> blocks(int32_t node) const noexcept {
    return {blocks_.data() + static_cast<size_t>(node) * n_groups_, n_groups_};
  }
  std::string_view salt(int32_t node) const noexcept { return salts_[(*this)[node].salt].text; }
  int32_t root_of(int32_t node) const noexcept { return salts_[(*this)[node].salt].root; }

  /// Places, vacant ones included: indices are below.
  int32_t n_places() const noexcept { return static_cast<int32_t>(nodes_.size()); }
  int64_t n_nodes() const noexcept { return n_nodes_; }    ///< roots not included
  int64_t n_tokens() const noexcept { return n_tokens_; }  ///< of all nodes
  /// Bytes of heap that the arrays and salts take, room for more nodes included.
  size_t heap_bytes() const noexcept;

  template <NodeLink PrefixNode::*kLink>
  void push_back(NodeList& list, int32_t node) noexcept {
    (*this)[node].*kLink = {list.last, -1};
    (list.last < 0 ? list.first : ((*this)[list.last].*kLink).next) = node;
    list.last = node;
  }
  template <NodeLink PrefixNode::*kLink>
  void unlink(NodeList& list, int32_t node) noexcept {
    const NodeLink link = (*this)[node].*kLink;
    (link.previous < 0 ? list.first : ((*this)[link.previous].*kLink).next) = link.next;
    (link.next < 0 ? list.last : ((*this)[link.next].*kLink).previous) = link.previous;
    (*this)[node].*kLink = {};
  }

 private:
  struct Salt {
    std::string text;
    int32_t root = -1;
    int32_t next_free = -1;
  };

  int32_t take_place() noexcept;
  size_t hash_bucket(uint64_t hash) const noexcept { return hash & (by_hash_.size() - 1); }
  size_t first_bucket(int32_t parent, int32_t token) const noexcept {
    return hash_token(static_cast<uint64_t>(parent), token) & (by_first_.size() - 1);
  }
  void index(int32_t node) noexcept;
  int32_t skip_others(int32_t node, int32_t parent, int32_t token) const noexcept;

  size_t block_tokens_;
  size_t n_groups_;
  std::vector<PrefixNode> nodes_;
  std::vector<int32_t> tokens_;    ///< [n_places, block_tokens]
  std::vector<BlockId> blocks_;    ///< [n_places, n_groups]
  std::vector<NodeList> by_hash_;  ///< buckets, a power of two of them
  std::vector<NodeList> by_first_;
  std::vector<Salt> salts_;
  int32_t free_place_ = -1;  ///< vacant places, linked by `parent`
  int32_t free_salt_ = -1;
  size_t n_vacant_ = 0;
  uint64_t generation_ = 0;
  int64_t n_nodes_ = 0;
  int64_t n_tokens_ = 0;
};

}  // namespace decant::cache
