// SPDX-License-Identifier: Apache-2.0
#include "cache/sequence_cache.h"

#include <algorithm>

#include "decant/detail/check.h"

namespace decant::cache {

void BlockTable::append(BlockId id, std::byte* block) noexcept {
  if (n_blocks_ - base_ == capacity_) {  // what is gone at the front makes room
    const int shift = n_gone_ - base_;
    DECANT_CHECK(shift > 0, "no sequence has more blocks at a time than the table has room for");
    std::move(blocks_ + shift, blocks_ + capacity_, blocks_);
    std::move(ids_ + shift, ids_ + capacity_, ids_);
    base_ = n_gone_;
  }
  ids_[n_blocks_ - base_] = id;
  blocks_[n_blocks_ - base_] = block;
  ++n_blocks_;
}

void BlockTable::share(BlockPool& pool, const BlockTable& other) noexcept {
  DECANT_CHECK(n_blocks_ == 0, "a fork begins with an empty table");
  base_ = other.base_;
  n_blocks_ = other.n_blocks_;
  n_gone_ = other.n_gone_;
  std::copy_n(other.blocks_, n_blocks_ - base_, blocks_);
  std::copy_n(other.ids_, n_blocks_ - base_, ids_);
  for (int b = n_gone_; b < n_blocks_; ++b) pool.share(id(b));
}

void BlockTable::append_shared(BlockPool& pool, BlockId id) noexcept {
  pool.share(id);
  append(id, pool.data(id));
}

void BlockTable::append_gone() noexcept {
  DECANT_CHECK(n_gone_ == n_blocks_, "only blocks at the front are gone");
  append({}, nullptr);
  ++n_gone_;
}

bool BlockTable::give_up_last(BlockPool& pool) noexcept {
  const BlockId last = id(n_blocks_ - 1);
  if (pool.owners(last) == 1) return false;
  // Were the tree of prefixes its only owner left, making room could evict it before it is copied.
  last_ = pool.owners(last) == 2 && pool.held(last) ? Last::to_copy : Last::given_up;
  if (last_ == Last::given_up) pool.drop(last);
  return true;
}

void BlockTable::take_back_last(BlockPool& pool) noexcept {
  if (std::exchange(last_, Last::own) == Last::given_up) pool.share(id(n_blocks_ - 1));
}

std::pair<const std::byte*, std::byte*> BlockTable::grow(BlockPool& pool, int n) noexcept {
  std::pair<const std::byte*, std::byte*> move{nullptr, nullptr};
  const Last last = std::exchange(last_, Last::own);
  if (last == Last::given_up || (last == Last::to_copy && pool.owners(id(n_blocks_ - 1)) > 1)) {
    const BlockId copy = pool.take();
    move = {block(n_blocks_ - 1), pool.data(copy)};  // still there: it has another owner
    if (last == Last::to_copy) pool.drop(id(n_blocks_ - 1));
    ids_[n_blocks_ - 1 - base_] = copy;
    blocks_[n_blocks_ - 1 - base_] = move.second;
  }
  while (n_blocks_ < n) {
    const BlockId id = pool.take();
    append(id, pool.data(id));
  }
  return move;
}

int BlockTable::n_shared(const BlockPool& pool, int begin, int end) const noexcept {
  int n = 0;
  for (int b = begin; b < end; ++b) n += pool.owners(id(b)) > 1;
  return n;
}

std::pair<const std::byte*, std::byte*> BlockTable::unshare(BlockPool& pool, int b) noexcept {
  if (pool.owners(id(b)) == 1) return {nullptr, nullptr};
  const BlockId fresh = pool.take();
  const std::pair<const std::byte*, std::byte*> copy{block(b), pool.data(fresh)};
  pool.drop(id(b));
  ids_[b - base_] = fresh;
  blocks_[b - base_] = copy.second;
  return copy;
}

void BlockTable::renumber(int k) noexcept {
  DECANT_CHECK(k <= n_gone_, "only what is gone can be left out");
  const int unused = std::max(0, k - base_);  // entries that would get negative numbers
  std::move(blocks_ + unused, blocks_ + (n_blocks_ - base_), blocks_);
  std::move(ids_ + unused, ids_ + (n_blocks_ - base_), ids_);
  base_ = base_ + unused - k;
  n_blocks_ -= k;
  n_gone_ -= k;
}

void BlockTable::prepend(BlockPool& pool) noexcept {
  DECANT_CHECK(n_gone_ > 0, "there is a block before the first");
  if (n_gone_ == base_) {
    DECANT_CHECK(n_blocks_ - base_ < capacity_, "no sequence has more blocks at a time than the table has room for");
    std::move_backward(blocks_, blocks_ + (n_blocks_ - base_), blocks_ + (n_blocks_ - base_ + 1));
    std::move_backward(ids_, ids_ + (n_blocks_ - base_), ids_ + (n_blocks_ - base_ + 1));
    --base_;
  }
  --n_gone_;
  ids_[n_gone_ - base_] = pool.take();
  blocks_[n_gone_ - base_] = pool.data(id(n_gone_));
}

void BlockTable::cut_back(BlockPool& pool, int n) noexcept {
  for (; n_blocks_ > n; --n_blocks_)
    if (n_blocks_ > n_gone_) pool.drop(id(n_blocks_ - 1));
  n_gone_ = std::min(n_gone_, n_blocks_);
  base_ = std::min(base_, n_blocks_);
}

void BlockTable::cut_front(BlockPool& pool, int n) noexcept {
  for (; n_gone_ < n; ++n_gone_) {
    pool.drop(id(n_gone_));
    ids_[n_gone_ - base_] = {};
    blocks_[n_gone_ - base_] = nullptr;
  }
}

void SequenceCache::share(std::vector<BlockPool>& pools, const SequenceCache& other) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) {
    tables_[g].share(pools[g], other.tables_[g]);
    first_slots_[g] = other.first_slots_[g];
  }
  len_ = n_slots_ = other.len_;
  n_pure_ = other.n_pure_;
  begin_ = other.begin_;
  keeps_front_ = other.keeps_front_;
}

void SequenceCache::plan(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots,
                         std::span<int64_t> n_new) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) {
    n_new[g] += layout.blocks_for(n_slots) - tables_[g].n_blocks();
    if (len_ % layout.block_tokens != 0 && tables_[g].give_up_last(pools[g])) ++n_new[g];
  }
}

void SequenceCache::abandon(std::vector<BlockPool>& pools) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].take_back_last(pools[g]);
}

void SequenceCache::grow(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) {
    const auto [from, to] = tables_[g].grow(pools[g], layout.blocks_for(n_slots));
    if (to != nullptr) layout.copy_slots(static_cast<int>(g), from, to, len_ % layout.block_tokens);
  }
  n_slots_ = n_slots;
}

void SequenceCache::give_back(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) {
    const GroupLayout& group = layout.groups[g];
    if (group.window == 0 || keeps_front_) continue;
    const int n_gone = layout.outlived_blocks(group, std::max(0, len_ - layout.rollback_tokens));
    tables_[g].cut_front(pools[g], n_gone);
    first_slots_[g] = std::max(first_slots_[g], n_gone * layout.block_tokens);
  }
}

void SequenceCache::cut(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept {
  DECANT_CHECK(n_slots <= n_slots_, "cutting doesn't add slots");
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].cut_back(pools[g], layout.blocks_for(n_slots));
  n_slots_ = n_slots;
  len_ = std::min(len_, n_slots);
  if (n_pure_ >= len_) n_pure_ = kAll;  // nothing that was altered is left
  if (n_slots > 0) return;
  begin_ = 0;
  std::fill(first_slots_.begin(), first_slots_.end(), 0);
}

void SequenceCache::clear(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept {
  cut(layout, pools, 0);
  keeps_front_ = false;
}

void SequenceCache::begin_with(int len, int n_pure, int begin, std::span<const int> first_slots) noexcept {
  DECANT_CHECK(n_slots_ == 0, "a sequence begins once");
  len_ = n_slots_ = len;
  n_pure_ = n_pure < len ? n_pure : kAll;
  begin_ = begin;
  std::copy(first_slots.begin(), first_slots.end(), first_slots_.begin());
}

bool SequenceCache::can_cut(const BlockLayout& layout, int len) const noexcept {
  if (len == 0) return true;
  for (size_t g = 0; g < tables_.size(); ++g) {
    const int window = layout.groups[g].window;
    const int needed = std::max(begin_, window == 0 ? 0 : len - window + 1);
    if (first_slots_[g] > needed) return false;
  }
  return len >= begin_;
}

void SequenceCache::close_gap(const BlockLayout& layout, std::vector<BlockPool>& pools, int new_len,
                              int first) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].cut_back(pools[g], layout.blocks_for(new_len));
  len_ = n_slots_ = new_len;
  mark_altered(first);
}

void SequenceCache::begin_at(const BlockLayout& layout, std::vector<BlockPool>& pools, int slot) noexcept {
  begin_ = slot;
  mark_altered(0);
  for (size_t g = 0; g < tables_.size(); ++g) {
    tables_[g].cut_front(pools[g], slot / layout.block_tokens);
    first_slots_[g] = std::max(first_slots_[g], slot);
  }
}

}  // namespace decant::cache
