// SPDX-License-Identifier: Apache-2.0
#include "cache/block_pool.h"

#include <algorithm>
#include <utility>

#include "decant/detail/check.h"

namespace decant::cache {
namespace {

constexpr size_t kMinSlabBytes = kHugePageBytes;
constexpr size_t kMaxSlabBytes = 8 * kHugePageBytes;
constexpr size_t kGrowth = 4;       // a new slab adds a quarter: few system calls, little that stands empty
constexpr size_t kLimitShare = 16;  // of a limit a slab takes at most this share, lest pools starve one another

}  // namespace

BlockPool::BlockPool(BlockPool&& other) noexcept
    : block_bytes_(other.block_bytes_),
      max_blocks_(other.max_blocks_),
      budget_(other.budget_),
      slabs_(std::exchange(other.slabs_, {})),
      first_(std::exchange(other.first_, -1)),
      last_(std::exchange(other.last_, -1)),
      n_used_(std::exchange(other.n_used_, 0)),
      n_free_(std::exchange(other.n_free_, 0)),
      n_idle_(std::exchange(other.n_idle_, 0)) {}

BlockPool::~BlockPool() {
  for (const Slab& slab : slabs_) budget_->reserved_bytes -= slab.memory.size_bytes();
}

bool BlockPool::make_free(int64_t n, size_t spare_bytes) {
  while (n_free_ < n) {
    const int64_t n_blocks = n_used_ + n_free_;
    const int64_t missing = n - n_free_;
    const size_t usual_bytes =
        std::min(std::clamp(static_cast<size_t>(n_blocks) * block_bytes_ / kGrowth, kMinSlabBytes, kMaxSlabBytes),
                 budget_->limit_bytes / kLimitShare);
    const auto usual = static_cast<int64_t>(usual_bytes / block_bytes_);
    const auto most = static_cast<int64_t>(std::max<size_t>(1, kMaxSlabBytes / block_bytes_));
    const auto spare = static_cast<int64_t>(std::min(spare_bytes / block_bytes_, static_cast<size_t>(max_blocks_)));
    const int64_t wanted = std::min(missing, most);
    const int64_t size = std::clamp(std::min(usual, max_blocks_ - n_blocks), wanted, std::max(wanted, missing + spare));
    if (!add_slab(size)) return false;
    if (size > missing) spare_bytes -= static_cast<size_t>(size - missing) * block_bytes_;
  }
  return true;
}

bool BlockPool::add_slab(int64_t n_blocks) {
  // Bookkeeping first: it may throw, and then nothing has changed.
  auto vacant = std::find_if(slabs_.begin(), slabs_.end(), [](const Slab& slab) { return !slab.memory; });
  if (vacant == slabs_.end()) vacant = slabs_.emplace(vacant);
  std::vector<Block> blocks(static_cast<size_t>(n_blocks));
  for (int32_t i = 0; i < n_blocks; ++i) blocks[i].next_free = i + 1 < n_blocks ? i + 1 : -1;

  Mapping memory = Mapping::take(static_cast<size_t>(n_blocks) * block_bytes_, Mapping::Fault::now);
  if (!memory) return false;
  budget_->reserved_bytes += memory.size_bytes();
  vacant->memory = std::move(memory);
  vacant->blocks = std::move(blocks);
  vacant->first_free = 0;
  n_free_ += n_blocks;
  link_back(static_cast<int32_t>(vacant - slabs_.begin()));
  return true;
}

void BlockPool::remove_slab(int32_t s) noexcept {
  unlink(s);
  n_free_ -= static_cast<int64_t>(slabs_[s].blocks.size());
  budget_->reserved_bytes -= slabs_[s].memory.size_bytes();
  const Slab gone = std::exchange(slabs_[s], {});
}

void BlockPool::trim() noexcept {
  for (int32_t s = first_; s >= 0;) {
    const int32_t next = slabs_[s].next;
    if (slabs_[s].n_used == 0) remove_slab(s);
    s = next;
  }
}

BlockId BlockPool::take() noexcept {
  DECANT_CHECK(first_ >= 0, "make_free() came before");
  const int32_t s = first_;
  Slab& slab = slabs_[s];
  const BlockId id{s, slab.first_free};
  Block& block = slab.blocks[id.index];
  slab.first_free = block.next_free;
  block = {1, -1, false};
  ++slab.n_used;
  ++n_used_;
  --n_free_;
  if (slab.first_free < 0) unlink(s);
  return id;
}

void BlockPool::drop(BlockId id) noexcept {
  Slab& slab = slabs_[id.slab];
  Block& block = slab.blocks[id.index];
  DECANT_CHECK(block.owners > 0, "tables name only blocks that they own");
  if (--block.owners > 0) {
    if (idle(id)) count_idle(id.slab, 1);
    return;
  }
  DECANT_CHECK(!block.held, "the tree lets go, it doesn't drop");
  // To the front: a slab that was just read from is likelier in the caches than one at the back.
  if (slab.first_free < 0) link_front(id.slab);
  block.next_free = std::exchange(slab.first_free, id.index);
  --slab.n_used;
  --n_used_;
  ++n_free_;
  if (slab.n_used == 0) remove_slab(id.slab);
}

void BlockPool::hold(BlockId id) noexcept {
  Block& block = slabs_[id.slab].blocks[id.index];
  DECANT_CHECK(block.owners > 0 && !block.held, "a sequence offers its own blocks, and a tree takes each once");
  block.held = true;
  ++block.owners;
}

void BlockPool::let_go(BlockId id) noexcept {
  DECANT_CHECK(held(id), "a tree lets go of what it holds");
  if (idle(id)) count_idle(id.slab, -1);
  slabs_[id.slab].blocks[id.index].held = false;
  drop(id);
}

size_t BlockPool::returnable_bytes() const noexcept {
  size_t bytes = 0;
  for (const Slab& slab : slabs_)
    if (slab.n_idle > 0 && slab.n_idle == slab.n_used) bytes += slab.memory.size_bytes();
  return bytes;
}

void BlockPool::link_front(int32_t s) noexcept {
  slabs_[s].previous = -1;
  slabs_[s].next = first_;
  (first_ < 0 ? last_ : slabs_[first_].previous) = s;
  first_ = s;
}

void BlockPool::link_back(int32_t s) noexcept {
  slabs_[s].previous = last_;
  slabs_[s].next = -1;
  (last_ < 0 ? first_ : slabs_[last_].next) = s;
  last_ = s;
}

void BlockPool::unlink(int32_t s) noexcept {
  Slab& slab = slabs_[s];
  (slab.previous < 0 ? first_ : slabs_[slab.previous].next) = slab.next;
  (slab.next < 0 ? last_ : slabs_[slab.next].previous) = slab.previous;
  slab.previous = slab.next = -1;
}

}  // namespace decant::cache
