// SPDX-License-Identifier: Apache-2.0

// Sequences and the tree of known prefixes: what a new one takes, what a grown one leaves.

#include <algorithm>
#include <new>
#include <vector>

#include "cache/kv_cache_impl.h"

namespace decant::cache {

PrefixHit KvCache::adopt_prefix(SequenceIndex sequence, std::string_view salt, std::span<const int32_t> tokens) {
  Impl& impl = *impl_;
  PrefixHit hit{.why = PrefixMiss::off};
  if (!impl.shares_prefixes || impl.reservation_alive || !impl.alive(sequence)) return hit;
  Impl::Place& place = impl.places[sequence];
  if (place.cache.len() > 0 || place.sinks.n() > 0) return hit;
  try {
    const std::span<const int32_t> usable = tokens.first(std::min(tokens.size(), static_cast<size_t>(impl.max_tokens)));
    hit = impl.adopt(place, salt, usable);
  } catch (const std::bad_alloc&) {
    place.cache.cut(impl.layout, impl.pools, 0);
    hit = {.why = PrefixMiss::no_memory};
  }
  PrefixStats& stats = impl.prefix_stats;
  ++stats.n_lookups;
  stats.n_hits += hit.n_tokens > 0;
  stats.n_hit_tokens += hit.n_tokens;
  stats.n_asked_tokens += static_cast<int64_t>(tokens.size());
  return hit;
}

PrefixHit KvCache::Impl::adopt(Place& place, std::string_view salt, std::span<const int32_t> tokens) {
  const PrefixMatch match = prefixes.match(salt, tokens);
  PrefixHit hit{match.n_tokens, match.n_known, match.why};
  if (match.n_tokens == 0) return hit;

  std::vector<int> first_slots(pools.size());
  const auto n_nodes = static_cast<int>(match.nodes.size());
  for (int g = 0; g < n_groups(); ++g) {
    BlockTable& table = place.cache.table(g);
    // What no query from here on attends to is left out; where the tree lacks a block, nothing before it counts.
    int n_gone = std::min(n_nodes, layout.outlived_blocks(layout.groups[static_cast<size_t>(g)], match.n_tokens));
    for (int i = n_gone; i < n_nodes; ++i)
      if (prefixes.blocks(match.nodes[static_cast<size_t>(i)])[static_cast<size_t>(g)] == BlockId{}) n_gone = i + 1;
    for (int i = 0; i < n_gone; ++i) table.append_gone();
    for (int i = n_gone; i < n_nodes; ++i)
      table.append_shared(pools[static_cast<size_t>(g)],
                          prefixes.blocks(match.nodes[static_cast<size_t>(i)])[static_cast<size_t>(g)]);
    first_slots[static_cast<size_t>(g)] = n_gone * layout.block_tokens;
  }
  const int n_whole = n_nodes * layout.block_tokens;
  place.cache.begin_with(n_whole, n_whole, 0, first_slots);
  if (match.partial_tokens == 0) return hit;

  // The rest lies at the front of a block that goes on otherwise, or may: a copy. Held meanwhile, so that making room
  // doesn't evict it.
  std::vector<BlockId> sources(pools.size());
  for (int g = 0; g < n_groups(); ++g) {
    const BlockId id = sources[static_cast<size_t>(g)] = prefixes.blocks(match.partial_node)[static_cast<size_t>(g)];
    if (id != BlockId{}) pools[static_cast<size_t>(g)].share(id);
    n_new[static_cast<size_t>(g)] = 1;
  }
  const bool room = make_room().ok();
  if (room) {
    for (int g = 0; g < n_groups(); ++g) {
      BlockTable& table = place.cache.table(g);
      table.grow(pools[static_cast<size_t>(g)], n_nodes + 1);
      if (const BlockId id = sources[static_cast<size_t>(g)]; id != BlockId{})
        layout.copy_slots(g, pools[static_cast<size_t>(g)].data(id), table.block(n_nodes), match.partial_tokens);
    }
    place.cache.lengthen(match.n_tokens);
  }
  for (int g = 0; g < n_groups(); ++g)
    if (const BlockId id = sources[static_cast<size_t>(g)]; id != BlockId{}) pools[static_cast<size_t>(g)].drop(id);
  if (room) return hit;

  place.cache.cut(layout, pools, 0);
  const int n_known = hit.n_known;
  hit = adopt(place, salt, tokens.first(static_cast<size_t>(n_whole)));  // whole blocks only: nothing to copy
  hit.n_known = n_known;
  hit.why = PrefixMiss::no_memory;
  return hit;
}

void KvCache::publish_prefix(SequenceIndex sequence, std::string_view salt, std::span<const int32_t> tokens,
                             int priority) {
  Impl& impl = *impl_;
  if (!impl.shares_prefixes || impl.reservation_alive || !impl.alive(sequence)) return;
  Impl::Place& place = impl.places[sequence];
  const auto n = std::min(tokens.size(), static_cast<size_t>(place.cache.n_pure()));
  if (n == 0 || place.sinks.n() > 0) return;
  try {
    std::vector<std::vector<BlockId>> ids(impl.pools.size());
    std::vector<std::span<const BlockId>> blocks;
    for (int g = 0; g < impl.n_groups(); ++g) {
      std::vector<BlockId>& of_group = ids[static_cast<size_t>(g)];
      const BlockTable& table = place.cache.table(g);
      of_group.resize(static_cast<size_t>(impl.layout.blocks_for(static_cast<int>(n))));
      for (int b = table.n_gone(); b < static_cast<int>(of_group.size()); ++b)
        if (b * impl.layout.block_tokens >= place.cache.first_slot(g)) of_group[static_cast<size_t>(b)] = table.id(b);
      blocks.emplace_back(of_group);
    }
    const NodeId end = impl.prefixes.insert(salt, tokens.first(n), blocks, priority);
    if (end != NodeId{}) place.published = end;
    impl.prefixes.trim_to_budget();
  } catch (const std::bad_alloc&) {
    // It stays unknown: the next one computes it again.
  }
}

void KvCache::forget_prefixes() noexcept { impl_->prefixes.clear(); }
void KvCache::forget_prefixes(std::string_view salt) noexcept { impl_->prefixes.clear(salt); }

}  // namespace decant::cache
