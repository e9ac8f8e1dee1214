// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_nodes.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "decant/detail/check.h"

namespace decant::cache {
namespace {

constexpr size_t kMaxPlaces = std::numeric_limits<int32_t>::max();
constexpr size_t kMinBuckets = 64;

// Vectors grow by half at least, so that adding node after node stays linear.
template <typename T>
void make_room(std::vector<T>& array, size_t n_more) {
  const size_t needed = array.size() + n_more;
  if (needed > array.capacity()) array.reserve(std::max(needed, array.capacity() + array.capacity() / 2));
}

size_t heap_bytes_of(const std::string& text) {
  const std::string none;
  return text.capacity() > none.capacity() ? text.capacity() + 1 : 0;  // short ones lie in the string itself
}

}  // namespace

uint64_t PrefixNodes::hash_salt(std::string_view salt) noexcept {
  uint64_t hash = salt.size();
  for (const char c : salt) hash = hash_token(hash, static_cast<unsigned char>(c));
  return hash_token(hash, -1);
}

uint64_t PrefixNodes::hash_token(uint64_t before, int32_t token) noexcept {
  const uint64_t product = (before ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15U + 1;
  return product ^ (product >> 32);
}

uint64_t PrefixNodes::hash_tokens(uint64_t before, std::span<const int32_t> tokens) noexcept {
  for (const int32_t token : tokens) before = hash_token(before, token);
  return before;
}

void PrefixNodes::reserve(size_t n_nodes) {
  const size_t n_new = n_nodes - std::min(n_nodes, n_vacant_);
  if (n_nodes > kMaxPlaces - nodes_.size()) throw std::bad_alloc();
  make_room(nodes_, n_new);
  make_room(tokens_, n_new * block_tokens_);
  make_room(blocks_, n_new * n_groups_);
  if (free_salt_ < 0) make_room(salts_, 1);

  size_t n_buckets = std::max(kMinBuckets, by_hash_.size());
  while (n_buckets < nodes_.size() + n_new) n_buckets *= 2;
  if (n_buckets == by_hash_.size()) return;
  std::vector<NodeList> by_hash(n_buckets), by_first(n_buckets);
  by_hash_ = std::move(by_hash);
  by_first_ = std::move(by_first);
  for (int32_t node = 0; node < n_places(); ++node)
    if ((*this)[node].n_tokens >= 0) index(node);
}

int32_t PrefixNodes::take_place() noexcept {
  int32_t place = free_place_;
  if (place >= 0) {
    free_place_ = (*this)[place].parent;
    --n_vacant_;
  } else {
    DECANT_CHECK(nodes_.size() < nodes_.capacity(), "reserve() came before");
    place = n_places();
    nodes_.emplace_back();
    tokens_.resize(tokens_.size() + block_tokens_);
    blocks_.resize(blocks_.size() + n_groups_);
  }
  (*this)[place] = {};
  (*this)[place].generation = ++generation_;
  std::ranges::fill(blocks(place), BlockId{});
  return place;
}

void PrefixNodes::index(int32_t node) noexcept {
  const PrefixNode& n = (*this)[node];
  push_back<&PrefixNode::same_hash>(by_hash_[hash_bucket(n.hash)], node);
  if (!is_root(node)) push_back<&PrefixNode::same_first>(by_first_[first_bucket(n.parent, tokens(node).front())], node);
}

int32_t PrefixNodes::add_root(std::string&& salt, uint64_t hash) noexcept {
  const int32_t root = take_place();
  int32_t slot = free_salt_;
  if (slot >= 0) {
    free_salt_ = salts_[slot].next_free;
  } else {
    slot = static_cast<int32_t>(salts_.size());
    salts_.emplace_back();
  }
  salts_[slot] = {std::move(salt), root, -1};
  PrefixNode& node = (*this)[root];
  node.hash = hash;
  node.salt = slot;
  node.n_tokens = 0;
  index(root);
  return root;
}

int32_t PrefixNodes::add(int32_t parent, std::span<const int32_t> tokens, uint64_t hash) noexcept {
  DECANT_CHECK(!tokens.empty() && tokens.size() <= block_tokens_, "a node has a block's worth of tokens at most");
  const int32_t place = take_place();
  PrefixNode& node = (*this)[place];
  PrefixNode& above = (*this)[parent];
  node.hash = hash;
  node.parent = parent;
  node.salt = above.salt;
  node.depth = above.depth + 1;
  node.n_tokens = static_cast<int32_t>(tokens.size());
  std::ranges::copy(tokens, tokens_.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(place) * block_tokens_));
  push_back<&PrefixNode::siblings>(above.children, place);
  ++above.n_children;
  index(place);
  ++n_nodes_;
  n_tokens_ += node.n_tokens;
  return place;
}

void PrefixNodes::remove(int32_t place) noexcept {
  PrefixNode& node = (*this)[place];
  DECANT_CHECK(node.n_tokens >= 0 && node.n_children == 0, "only leaves go");
  unlink<&PrefixNode::same_hash>(by_hash_[hash_bucket(node.hash)], place);
  if (is_root(place)) {
    Salt gone = std::exchange(salts_[node.salt], Salt{{}, -1, free_salt_});
    free_salt_ = node.salt;
  } else {
    unlink<&PrefixNode::same_first>(by_first_[first_bucket(node.parent, tokens(place).front())], place);
    PrefixNode& above = (*this)[node.parent];
    unlink<&PrefixNode::siblings>(above.children, place);
    --above.n_children;
    --n_nodes_;
    n_tokens_ -= node.n_tokens;
  }
  node = {};
  node.parent = std::exchange(free_place_, place);
  ++n_vacant_;
}

void PrefixNodes::clear() noexcept {
  PrefixNodes empty(static_cast<int>(block_tokens_), static_cast<int>(n_groups_));
  empty.generation_ = generation_;
  std::swap(*this, empty);
}

int32_t PrefixNodes::find_root(std::string_view salt, uint64_t hash) const noexcept {
  if (by_hash_.empty()) return -1;
  int32_t node = by_hash_[hash_bucket(hash)].first;
  while (node >= 0 && (!is_root(node) || (*this)[node].hash != hash || this->salt(node) != salt))
    node = (*this)[node].same_hash.next;
  return node;
}

int32_t PrefixNodes::find(int32_t parent, std::span<const int32_t> tokens, uint64_t hash) const noexcept {
  for (int32_t node = by_hash_[hash_bucket(hash)].first; node >= 0; node = (*this)[node].same_hash.next) {
    const PrefixNode& n = (*this)[node];
    if (n.hash == hash && n.parent == parent && std::ranges::equal(this->tokens(node), tokens)) return node;
  }
  return -1;
}

int32_t PrefixNodes::skip_others(int32_t node, int32_t parent, int32_t token) const noexcept {
  while (node >= 0 && ((*this)[node].parent != parent || tokens(node).front() != token))
    node = (*this)[node].same_first.next;
  return node;
}

int32_t PrefixNodes::first_with(int32_t parent, int32_t token) const noexcept {
  return skip_others(by_first_[first_bucket(parent, token)].first, parent, token);
}

int32_t PrefixNodes::next_with(int32_t child) const noexcept {
  const PrefixNode& node = (*this)[child];
  return skip_others(node.same_first.next, node.parent, tokens(child).front());
}

size_t PrefixNodes::heap_bytes() const noexcept {
  size_t bytes = nodes_.capacity() * sizeof(PrefixNode) + tokens_.capacity() * sizeof(int32_t) +
                 blocks_.capacity() * sizeof(BlockId) + by_hash_.capacity() * sizeof(NodeList) +
                 by_first_.capacity() * sizeof(NodeList) + salts_.capacity() * sizeof(Salt);
  for (const Salt& salt : salts_) bytes += heap_bytes_of(salt.text);
  return bytes;
}

}  // namespace decant::cache
