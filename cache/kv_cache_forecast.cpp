// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "decant/cache.h"
#include "decant/detail/format.h"

#include "cache/kv_cache_impl.h"

namespace decant::cache {

namespace {

/// Blocks that a sequence of a window's layers holds at most while it grows by up to at_once tokens at a time.
int most_blocks(const BlockLayout& layout, const GroupLayout& group, int64_t at_once, int n_blocks) {
  if (group.window == 0) return n_blocks;
  const int64_t slots = int64_t{group.window} + layout.rollback_tokens + at_once;
  return static_cast<int>(std::min<int64_t>(n_blocks, slots / layout.block_tokens + 2));
}

}  // namespace

size_t KvCache::sink_bytes(int n_sinks) const noexcept { return Sinks::bytes_for(impl_->layout, n_sinks); }

Result<KvCache::Forecast> KvCache::forecast(std::span<const KvGrowth> growths, int at_once) const try {
  const Impl& impl = *impl_;
  const BlockLayout& layout = impl.layout;
  std::vector<int64_t> n_new(impl.pools.size());
  for (const KvGrowth& growth : growths) {
    const bool fresh = growth.sequence == kNewSequence;
    if (!fresh && !impl.alive(growth.sequence))
      return Error{ErrorCode::invalid_argument, detail::format("cache: there is no sequence {}", growth.sequence)};
    const SequenceCache* const cache = fresh ? nullptr : &impl.places[growth.sequence].cache;
    const int len = fresh ? 0 : cache->len();
    if (growth.n_tokens < 0 || growth.n_tokens > kMaxSlot - len)
      return Error{ErrorCode::invalid_argument, detail::format("cache: a growth by {} tokens", growth.n_tokens)};
    for (size_t g = 0; g < impl.pools.size(); ++g) {
      const BlockTable* const table = fresh ? nullptr : &cache->table(static_cast<int>(g));
      const int n_gone = fresh ? 0 : table->n_gone();
      const int n_held = fresh ? 0 : table->n_blocks() - n_gone;
      const int n_later = layout.blocks_for(len + growth.n_tokens) - n_gone;
      n_new[g] += std::max(0, most_blocks(layout, layout.groups[g], at_once, n_later) - n_held);
      if (growth.n_tokens == 0 || len % layout.block_tokens == 0 || n_held == 0) continue;
      const BlockId last = table->id(table->n_blocks() - 1);
      if (impl.pools[g].owners(last) - impl.pools[g].held(last) > 1) ++n_new[g];  // it is copied; the tree lets go
    }
  }
  Forecast forecast;
  size_t missing = 0;
  forecast.available_bytes = impl.budget.left_bytes();
  for (size_t g = 0; g < impl.pools.size(); ++g) {
    const BlockPool& pool = impl.pools[g];
    forecast.needed_bytes += static_cast<size_t>(n_new[g]) * pool.block_bytes();
    if (impl.limit_bytes != 0)
      forecast.available_bytes += static_cast<size_t>(pool.n_free() + pool.n_idle()) * pool.block_bytes();
    missing += pool.missing_bytes(n_new[g] - pool.n_idle());
  }
  forecast.fits = missing <= impl.budget.left_bytes();
  return forecast;
} catch (const std::bad_alloc&) {
  return no_memory();
}

}  // namespace decant::cache
