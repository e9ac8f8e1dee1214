// SPDX-License-Identifier: Apache-2.0
#include "cache/sequence_cache.h"

#include <algorithm>

#include "decant/detail/check.h"

namespace decant::cache {

void BlockTable::grow(BlockPool& pool, int n) noexcept {
  for (; n_blocks_ < n; ++n_blocks_) {
    ids_[n_blocks_] = pool.take();
    blocks_[n_blocks_] = pool.data(ids_[n_blocks_]);
  }
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

void SequenceCache::grow(const BlockLayout& layout, std::vector<BlockPool>& pools, int n_slots) noexcept {
  for (size_t g = 0; g < tables_.size(); ++g) tables_[g].grow(pools[g], layout.blocks_for(n_slots));
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
