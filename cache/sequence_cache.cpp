// SPDX-License-Identifier: Apache-2.0
#include "cache/sequence_cache.h"

#include <algorithm>

#include "decant/detail/check.h"

namespace decant::cache {

void BlockTable::share(BlockPool& pool, const BlockTable& other) noexcept {
  DECANT_CHECK(n_blocks_ == 0, "a fork begins with an empty table");
  n_blocks_ = other.n_blocks_;
  n_outlived_ = other.n_outlived_;
  std::copy_n(other.blocks_, n_blocks_, blocks_);
  std::copy_n(other.ids_, n_blocks_, ids_);
  for (int i = n_outlived_; i < n_blocks_; ++i) pool.share(ids_[i]);
}

bool BlockTable::give_up_last(BlockPool& pool) noexcept {
  const BlockId last = ids_[n_blocks_ - 1];
  gave_up_last_ = pool.owners(last) > 1;
  if (gave_up_last_) pool.drop(last);
  return gave_up_last_;
}

void BlockTable::take_back_last(BlockPool& pool) noexcept {
  if (std::exchange(gave_up_last_, false)) pool.share(ids_[n_blocks_ - 1]);
}

std::pair<const std::byte*, std::byte*> BlockTable::grow(BlockPool& pool, int n) noexcept {
  const auto append = [&] {
    ids_[n_blocks_] = pool.take();
    blocks_[n_blocks_] = pool.data(ids_[n_blocks_]);
    ++n_blocks_;
  };
  std::pair<const std::byte*, std::byte*> move{nullptr, nullptr};
  if (std::exchange(gave_up_last_, false)) {
    move.first = blocks_[--n_blocks_];  // still there: it was given up because another table has it
    append();
    move.second = blocks_[n_blocks_ - 1];
  }
  while (n_blocks_ < n) append();
  return move;
}

void BlockTable::cut_back(BlockPool& pool, int n) noexcept {
  for (; n_blocks_ > n; --n_blocks_)
    if (n_blocks_ > n_outlived_) pool.drop(ids_[n_blocks_ - 1]);
  n_outlived_ = std::min(n_outlived_, n_blocks_);
}

void BlockTable::cut_front(BlockPool& pool, int n) noexcept {
  for (; n_outlived_ < n; ++n_outlived_) {
    pool.drop(ids_[n_outlived_]);
    ids_[n_outlived_] = {};
    blocks_[n_outlived_] = nullptr;
  }
}

void SequenceCache::share(std::vector<BlockPool>& pools, const SequenceCache& other) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].share(pools[g], other.tables_[g]);
  len_ = n_slots_ = other.len_;
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

void SequenceCache::commit(const BlockLayout& layout, std::vector<BlockPool>& pools) noexcept {
  len_ = n_slots_;
  for (size_t g = 0; g < tables_.size(); ++g)
    tables_[g].cut_front(pools[g], layout.outlived_blocks(layout.groups[g], len_));
}

void SequenceCache::cut(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept {
  DECANT_CHECK(n_slots <= n_slots_, "cutting doesn't add slots");
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].cut_back(pools[g], layout.blocks_for(n_slots));
  n_slots_ = n_slots;
  len_ = std::min(len_, n_slots);
}

bool SequenceCache::can_cut(const BlockLayout& layout, int len) const noexcept {
  if (len == 0) return true;
  for (size_t g = 0; g < tables_.size(); ++g)
    if (tables_[g].n_outlived() > layout.outlived_blocks(layout.groups[g], len)) return false;
  return true;
}

}  // namespace decant::cache
