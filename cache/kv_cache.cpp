// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "decant/cache.h"
#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/kv_cache_impl.h"

namespace decant::cache {
namespace {

constexpr size_t kTableEntryBytes = sizeof(std::byte*) + sizeof(BlockId);

Status check_counts(int max_sequences, int max_tokens, const BlockLayout& layout, size_t limit_bytes) {
  if (max_sequences < 1 || max_tokens < 1)
    return Error{
        ErrorCode::invalid_argument,
        detail::format("cache: max_sequences {} and max_tokens {} must be positive", max_sequences, max_tokens)};
  size_t one_each = 0, all = 0;
  for (const GroupLayout& group : layout.groups) {
    size_t most = 0;
    if (__builtin_mul_overflow(group.block_bytes, static_cast<size_t>(layout.blocks_for(max_tokens)), &most) ||
        __builtin_mul_overflow(most, static_cast<size_t>(max_sequences), &most) ||
        __builtin_add_overflow(all, most, &all) || all > std::numeric_limits<size_t>::max() / 2)
      return Error{ErrorCode::invalid_argument,
                   "cache: these layers, sequences and tokens have more bytes than can be counted"};
    one_each += group.block_bytes;
  }
  if (limit_bytes != 0 && limit_bytes < one_each)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: the limit is {} bytes, one block of each group of layers takes {}", limit_bytes,
                                one_each)};
  return {};
}

std::vector<BlockPool> make_pools(const BlockLayout& layout, int64_t max_blocks, SlabBudget* budget) {
  std::vector<BlockPool> pools;
  pools.reserve(layout.groups.size());
  for (const GroupLayout& group : layout.groups) pools.emplace_back(group.block_bytes, max_blocks, budget);
  return pools;
}

std::vector<int> windows_of(const BlockLayout& layout) {
  std::vector<int> windows;
  for (const GroupLayout& group : layout.groups) windows.push_back(group.window);
  return windows;
}

}  // namespace

KvCache::Impl::Impl(BlockLayout block_layout, Isa isa, int max_sequences, int max_tokens_each,
                    const CacheOptions& options)
    : layout(std::move(block_layout)),
      kernels(kernels::attention_kernels(isa)),
      rope(kernels::rope_kernel(isa)),
      max_tokens(max_tokens_each),
      limit_bytes(options.limit_bytes),
      pools(make_pools(layout, int64_t{layout.blocks_for(max_tokens)} * max_sequences, &budget)),
      prefixes(pools, windows_of(layout), layout.block_tokens),
      shares_prefixes(options.prefix_bytes > 0) {
  if (limit_bytes != 0) budget.limit_bytes = limit_bytes;
  prefixes.set_max_idle_bytes(options.prefix_bytes);
}

// All tables' pointers, then all their ids: 16 bytes a block, so a page of them stands for 256 blocks.
bool KvCache::Impl::set_up_tables(int max_sequences) {
  const auto per_table =
      static_cast<size_t>(layout.blocks_for(max_tokens)) + 2;  // a window's first block may be partly gone
  const size_t n_entries = per_table * pools.size() * static_cast<size_t>(max_sequences);
  table_memory = Mapping::take(n_entries * kTableEntryBytes, Mapping::Fault::on_touch);
  if (!table_memory) return false;
  auto* blocks = reinterpret_cast<std::byte**>(table_memory.data());
  auto* ids = reinterpret_cast<BlockId*>(table_memory.data() + n_entries * sizeof(std::byte*));
  n_new.resize(pools.size());
  places.reserve(static_cast<size_t>(max_sequences));
  free_places.reserve(static_cast<size_t>(max_sequences));
  reserved.reserve(static_cast<size_t>(max_sequences));
  for (int s = 0; s < max_sequences; ++s) {
    std::vector<BlockTable> tables;
    tables.reserve(pools.size());
    for (size_t g = 0; g < pools.size(); ++g, blocks += per_table, ids += per_table)
      tables.emplace_back(blocks, ids, static_cast<int>(per_table));
    places.push_back(Place{SequenceCache(std::move(tables)), {}, {}});
    free_places.push_back(max_sequences - 1 - s);
  }
  return true;
}

Result<std::unique_ptr<KvCache>> KvCache::create(std::span<const KvLayerShape> layers, const CacheOptions& options,
                                                 int max_sequences, int max_tokens, Isa isa) try {
  const std::span<const Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), isa) == isas.end())
    return Error{ErrorCode::unsupported, "cache: this CPU lacks the instructions that were asked for"};
  Result<BlockLayout> layout = BlockLayout::create(layers, options.block_tokens, options.k_type, options.v_type);
  if (!layout) return std::move(layout).error();
  if (options.rollback_tokens < 0)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: rollback_tokens is {}, cannot be negative", options.rollback_tokens)};
  layout->rollback_tokens = options.rollback_tokens;
  if (Status counts = check_counts(max_sequences, max_tokens, *layout, options.limit_bytes); !counts)
    return std::move(counts).error();

  auto impl = std::make_unique<Impl>(std::move(*layout), isa, max_sequences, max_tokens, options);
  if (!impl->set_up_tables(max_sequences)) return no_memory();
  return std::unique_ptr<KvCache>(new KvCache(std::move(impl)));
} catch (const std::bad_alloc&) {
  return no_memory();
}

KvCache::KvCache(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
KvCache::~KvCache() = default;

Status KvCache::Impl::check_no_reservation() const {
  if (!reservation_alive) return {};
  return Error{ErrorCode::invalid_argument, "cache: a reservation is alive, commit it or let it go first"};
}

Status KvCache::Impl::check_idle(SequenceIndex s) const {
  if (Status idle = check_no_reservation(); !idle) return idle;
  if (!alive(s)) return Error{ErrorCode::invalid_argument, detail::format("cache: there is no sequence {}", s)};
  return {};
}

Result<SequenceIndex> KvCache::Impl::add_sequence() {
  if (free_places.empty())
    return Error{ErrorCode::cache_full, detail::format("cache: all {} sequences are alive", places.size())};
  const SequenceIndex s = free_places.back();
  free_places.pop_back();
  places[s].alive = true;
  return s;
}

Result<SequenceIndex> KvCache::add_sequence() try { return impl_->add_sequence(); } catch (const std::bad_alloc&) {
  return no_memory();
}

void KvCache::Impl::release(SequenceIndex s) noexcept {
  if (!alive(s)) return;
  Place& place = places[s];
  place.cache.clear(layout, pools);
  place.sinks = {};
  place.published = {};
  place.alive = false;
  free_places.push_back(s);  // capacity for all was taken in create()
  prefixes.trim_to_budget();
}

void KvCache::release(SequenceIndex sequence) noexcept { impl_->release(sequence); }

Result<SequenceIndex> KvCache::fork(SequenceIndex sequence) try {
  if (Status idle = impl_->check_idle(sequence); !idle) return idle.error();
  if (impl_->free_places.empty()) return impl_->add_sequence();  // its error, before anything makes way
  Sinks sinks;
  if (const Sinks& original = impl_->places[sequence].sinks; original.n() > 0) {
    Result<Sinks> copy = impl_->take_sinks(original.n());
    if (!copy) return std::move(copy).error();
    sinks = std::move(*copy);
    std::copy_n(original.keys(impl_->layout, 0, 0), original.key_bytes(impl_->layout) / sizeof(float),
                sinks.keys(impl_->layout, 0, 0));
  }
  Result<SequenceIndex> added = impl_->add_sequence();
  if (!added) return added;
  impl_->places[*added].cache.share(impl_->pools, impl_->places[sequence].cache);
  impl_->places[*added].sinks = std::move(sinks);
  return added;
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<KvReservation> KvCache::reserve(std::span<const KvGrowth> growths) try {
  Impl& impl = *impl_;
  if (Status idle = impl.check_no_reservation(); !idle) return std::move(idle).error();
  Status room = impl.add_wishes(growths);
  if (room) {
    impl.plan_growth();
    room = impl.make_room();
    if (!room && room.error().code == ErrorCode::cache_full && impl.drop_tree_for_growth()) {
      impl.plan_growth();
      room = impl.make_room();
    }
  }
  if (!room) {
    impl.drop_wishes();
    return std::move(room).error();
  }
  for (const SequenceIndex s : impl.reserved) impl.prefixes.take_back(std::exchange(impl.places[s].published, {}));
  for (size_t g = 0; g < impl.pools.size(); ++g) impl.n_new[g] += impl.pools[g].n_used();
  for (const SequenceIndex s : impl.reserved) {
    Impl::Place& place = impl.places[s];
    place.cache.grow(impl.layout, impl.pools, place.cache.len() + std::exchange(place.wanted, 0));
  }
  for (size_t g = 0; g < impl.pools.size(); ++g)
    if (impl.pools[g].n_used() < impl.n_new[g]) impl.pools[g].trim();  // making room spared a copy
  impl.reservation_alive = true;
  return KvReservation(this);
} catch (const std::bad_alloc&) {
  impl_->drop_wishes();
  return no_memory();
}

Status KvCache::Impl::add_wishes(std::span<const KvGrowth> growths) {
  for (const KvGrowth& growth : growths) {
    if (!alive(growth.sequence))
      return Error{ErrorCode::invalid_argument, detail::format("cache: there is no sequence {}", growth.sequence)};
    Place& place = places[growth.sequence];
    const int kept = place.cache.len() - place.cache.begin() + place.wanted;
    if (growth.n_tokens < 0 || growth.n_tokens > max_tokens - kept ||
        growth.n_tokens > kMaxSlot - place.cache.len() - place.wanted)
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: sequence {} keeps {} tokens and cannot grow by {}: at most {}",
                                  growth.sequence, kept, growth.n_tokens, max_tokens)};
    if (growth.n_tokens == 0) continue;
    if (place.wanted == 0) reserved.push_back(growth.sequence);
    place.wanted += growth.n_tokens;
  }
  return {};
}

// An end that a sequence published is taken out of the tree rather than copied: counted here, done once there is room.
void KvCache::Impl::plan_growth() noexcept {
  std::fill(n_new.begin(), n_new.end(), 0);
  for (const SequenceIndex s : reserved) loosen_published(places[s]);
  for (const SequenceIndex s : reserved)
    places[s].cache.plan(layout, pools, places[s].cache.len() + places[s].wanted, n_new);
  for (const SequenceIndex s : reserved) fasten_published(places[s]);
}

void KvCache::Impl::loosen_published(Place& place) noexcept {
  const std::span<const BlockId> blocks = prefixes.to_take_back(place.published);
  // With a block that another sequence added and left it isn't this one's to take out.
  for (size_t g = 0; g < blocks.size(); ++g)
    if (blocks[g] != BlockId{} && pools[g].idle(blocks[g])) return void(place.published = {});
  for (size_t g = 0; g < blocks.size(); ++g)
    if (blocks[g] != BlockId{} && pools[g].held(blocks[g])) pools[g].let_go(blocks[g]);
}

void KvCache::Impl::fasten_published(const Place& place) noexcept {
  const std::span<const BlockId> blocks = prefixes.to_take_back(place.published);
  for (size_t g = 0; g < blocks.size(); ++g)
    if (blocks[g] != BlockId{} && !pools[g].held(blocks[g])) pools[g].hold(blocks[g]);
}

// The last resort where a copy is due to the tree alone, and would fit without it: the tree forgets everything, so that
// what sequences need is always enough. Undoes the plan if so.
bool KvCache::Impl::drop_tree_for_growth() noexcept {
  bool any = false;
  for (const SequenceIndex s : reserved)
    for (int g = 0; g < n_groups(); ++g)
      if (places[s].cache.table(g).copies_for_tree()) {
        --n_new[static_cast<size_t>(g)];
        any = true;
      }
  if (!any || !can_make_room()) return false;
  for (const SequenceIndex s : reserved) places[s].cache.abandon(pools);
  prefixes.clear();
  return true;
}

// Whether the limit allows it is decided before anything is taken; then only the operating system can say no.
Status KvCache::Impl::make_room(size_t bytes_beside) noexcept try {
  const auto missing_bytes = [&] {
    size_t missing = bytes_beside;
    for (size_t g = 0; g < pools.size(); ++g) missing += pools[g].missing_bytes(n_new[g]);
    return missing;
  };
  size_t missing = 0;
  const auto enough = [&] { return (missing = missing_bytes()) <= budget.left_bytes(); };
  // A block that nobody uses cannot go before one below it that a sequence added: then only forgetting everything
  // helps.
  if (!enough() && can_make_room(bytes_beside) && !prefixes.evict_until(enough)) {
    prefixes.clear();
    enough();
  }
  if (missing > budget.left_bytes())
    return Error{ErrorCode::cache_full, detail::format("cache: needs {} bytes more, {} of {} are taken", missing,
                                                       budget.reserved_bytes, budget.limit_bytes)};
  for (size_t g = 0; g < pools.size(); ++g) {
    const size_t spare = budget.left_bytes() - missing;
    missing -= pools[g].missing_bytes(n_new[g]);
    if (!pools[g].make_free(n_new[g], spare)) throw std::bad_alloc();  // the operating system is an allocator, too
  }
  return {};
} catch (const std::bad_alloc&) {
  for (BlockPool& pool : pools) pool.trim();
  return no_memory();
}

// Whether it would be enough if every prefix that nobody uses went. A pool that needs blocks keeps its slabs then; one
// that needs none gives those back that would be empty.
bool KvCache::Impl::can_make_room(size_t bytes_beside) const noexcept {
  size_t missing = bytes_beside, returned = 0;
  for (size_t g = 0; g < pools.size(); ++g) {
    const int64_t left = n_new[g] - pools[g].n_idle();
    if (left > 0) missing += pools[g].missing_bytes(left);
    if (n_new[g] == 0) returned += pools[g].returnable_bytes();
  }
  return missing <= budget.left_bytes() + returned;
}

// After a reserve() that failed: all as it was.
void KvCache::Impl::drop_wishes() noexcept {
  for (const SequenceIndex s : reserved) {
    places[s].cache.abandon(pools);
    places[s].wanted = 0;
  }
  reserved.clear();
}

void KvCache::commit_tokens() noexcept {
  for (const SequenceIndex s : impl_->reserved) impl_->places[s].cache.commit();
  impl_->reserved.clear();
  impl_->reservation_alive = false;
}

void KvCache::commit() noexcept {
  for (const SequenceIndex s : impl_->reserved) {
    impl_->places[s].cache.commit();
    impl_->places[s].cache.give_back(impl_->layout, impl_->pools);
  }
  impl_->reserved.clear();
  impl_->reservation_alive = false;
  impl_->prefixes.trim_to_budget();  // a window may have left a block to the tree alone
}

void KvCache::give_back(SequenceIndex sequence) noexcept {
  if (impl_->reservation_alive || !impl_->alive(sequence)) return;
  impl_->places[sequence].cache.give_back(impl_->layout, impl_->pools);
  impl_->prefixes.trim_to_budget();
}

void KvCache::roll_back() noexcept {
  for (const SequenceIndex s : impl_->reserved) {
    SequenceCache& sequence = impl_->places[s].cache;
    sequence.cut(impl_->layout, impl_->pools, sequence.len());
  }
  impl_->reserved.clear();
  impl_->reservation_alive = false;
  impl_->prefixes.trim_to_budget();  // a copy stays, and its original may be the tree's alone
}

Result<int> KvCache::truncate(SequenceIndex sequence, int len) try {
  if (Status idle = impl_->check_idle(sequence); !idle) return idle.error();
  Impl::Place& place = impl_->places[sequence];
  if (len < 0 || len > place.cache.len())
    return Error{ErrorCode::invalid_argument, detail::format("cache: sequence {} has {} tokens, cannot be cut to {}",
                                                             sequence, place.cache.len(), len)};
  // Sinks that have moved are kept whole: what would come in their place is none that write_sink() has seen.
  const int begin = place.cache.begin();
  const bool cuts_sinks = begin > 0 && len < begin + place.sinks.n();
  const int kept = !cuts_sinks && place.cache.can_cut(impl_->layout, len) ? len : 0;
  impl_->prefixes.take_back(std::exchange(place.published, {}));
  place.cache.cut(impl_->layout, impl_->pools, kept);
  impl_->prefixes.trim_to_budget();
  return kept;
} catch (const std::bad_alloc&) {
  return no_memory();
}

int KvCache::length(SequenceIndex sequence) const noexcept {
  return impl_->alive(sequence) ? impl_->places[sequence].cache.len() : 0;
}

KvView KvCache::Impl::view(SequenceIndex sequence, int layer, int kv_head) const noexcept {
  const LayerLayout& l = layout.layers[layer];
  const SequenceCache& cache = places[sequence].cache;
  const BlockTable& table = cache.table(l.group);
  KvView view;
  view.blocks = table.blocks();
  view.k_offset = l.offset + static_cast<size_t>(kv_head) * l.head_stride;
  view.v_offset = view.k_offset + l.v_offset;
  view.block_tokens = layout.block_tokens;
  view.len = cache.n_slots();
  view.first_block = table.first_block();
  view.first = cache.first_slot(l.group);
  view.k_dim = l.k_dim;
  view.v_dim = l.v_dim;
  view.k_tile_bytes = l.k_tile_bytes;
  view.v_tile_bytes = l.v_tile_bytes;
  view.v_in_k = l.v_in_k;
  view.k_type = layout.k_type;
  view.v_type = layout.v_type;
  return view;
}

KvView KvCache::view(SequenceIndex sequence, int layer, int kv_head) const noexcept {
  if (!impl_->alive(sequence) || !impl_->has_layer(layer)) return {};
  if (kv_head < 0 || kv_head >= impl_->layout.layers[layer].n_kv_heads) return {};
  return impl_->view(sequence, layer, kv_head);
}

bool KvCache::write(SequenceIndex sequence, int layer, int pos, const float* k, const float* v) const noexcept {
  if (!impl_->alive(sequence) || !impl_->has_layer(layer)) return false;
  if (pos < impl_->places[sequence].cache.len() || pos >= impl_->places[sequence].cache.n_slots()) return false;
  const detail::FpState default_state;
  const LayerLayout& l = impl_->layout.layers[layer];
  const auto store_k = impl_->kernels.store_k[static_cast<int>(impl_->layout.k_type)];
  const auto store_v = impl_->kernels.store_v[static_cast<int>(impl_->layout.v_type)];
  const int tile = pos / kernels::kTileTokens, lane = pos % kernels::kTileTokens;
  KvView view = impl_->view(sequence, layer, 0);
  for (int h = 0; h < l.n_kv_heads; ++h) {
    if (!store_k(k + static_cast<ptrdiff_t>(h) * l.k_dim, l.k_dim, view.k_tile(tile), lane)) return false;
    if (!l.v_in_k && !store_v(v + static_cast<ptrdiff_t>(h) * l.v_dim, l.v_dim, view.v_tile(tile), lane)) return false;
    view.k_offset += l.head_stride;
    view.v_offset += l.head_stride;
  }
  return true;
}

Status KvCache::copy_out(SequenceIndex sequence, int layer, int first, int n, float* k, float* v) const try {
  if (!impl_->alive(sequence) || !impl_->has_layer(layer))
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: there is no sequence {} or layer {}", sequence, layer)};
  KvView view = impl_->view(sequence, layer, 0);
  if (first < 0 || n < 0 || first > view.len || n > view.len - first || (n > 0 && first < view.first))
    return Error{ErrorCode::invalid_argument, detail::format("cache: sequence {} keeps slots {} to {}, not {} from {}",
                                                             sequence, view.first, view.len, n, first)};
  const detail::FpState default_state;
  const LayerLayout& l = impl_->layout.layers[layer];
  const auto load_k = impl_->kernels.load_k[static_cast<int>(impl_->layout.k_type)];
  const auto load_v = impl_->kernels.load_v[static_cast<int>(impl_->layout.v_type)];
  const auto heads = static_cast<size_t>(l.n_kv_heads);
  for (size_t h = 0; h < heads; ++h) {
    for (int i = 0; i < n; ++i) {
      const int tile = (first + i) / kernels::kTileTokens, lane = (first + i) % kernels::kTileTokens;
      const size_t row = static_cast<size_t>(i) * heads + h;
      if (k != nullptr) load_k(view.k_tile(tile), lane, l.k_dim, k + row * static_cast<size_t>(l.k_dim));
      if (v == nullptr) continue;
      float* const v_row = v + row * static_cast<size_t>(l.v_dim);
      if (l.v_in_k)
        load_k(view.k_tile(tile), lane, l.v_dim, v_row);
      else
        load_v(view.v_tile(tile), lane, l.v_dim, v_row);
    }
    view.k_offset += l.head_stride;
    view.v_offset += l.head_stride;
  }
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

size_t KvCache::bytes_needed(int n_tokens) const noexcept {
  const auto n_blocks = static_cast<size_t>(impl_->layout.blocks_for(std::clamp(n_tokens, 0, impl_->max_tokens)));
  size_t bytes = 0;
  for (const GroupLayout& group : impl_->layout.groups) bytes += n_blocks * group.block_bytes;
  return bytes;
}

CacheStats KvCache::stats() const noexcept {
  const Impl& impl = *impl_;
  CacheStats stats;
  stats.limit_bytes = impl.limit_bytes;
  stats.reserved_bytes = impl.budget.reserved_bytes;
  for (const BlockPool& pool : impl.pools) {
    int64_t n_shared = 0;
    for (const BlockPool::Slab& slab : pool.slabs())
      n_shared += std::count_if(slab.blocks.begin(), slab.blocks.end(),
                                [](const BlockPool::Block& block) { return block.owners > 1; });
    const auto bytes = [&pool](int64_t n) { return static_cast<size_t>(n) * pool.block_bytes(); };
    stats.used_bytes += bytes(pool.n_used());
    stats.shared_bytes += bytes(n_shared);
    stats.prefix_bytes += bytes(pool.n_idle());
    stats.unique_bytes += bytes(pool.n_used() - n_shared - pool.n_idle());
    stats.free_bytes += bytes(pool.n_free());
    stats.n_blocks_used += pool.n_used();
    stats.n_blocks_shared += n_shared;
    stats.n_blocks_free += pool.n_free();
  }
  for (const Impl::Place& place : impl.places) {
    if (!place.alive) continue;
    ++stats.n_sequences;
    stats.n_tokens += place.cache.len();
    stats.sink_bytes += place.sinks.size_bytes();
    for (int g = 0; g < impl.n_groups(); ++g) {
      const BlockTable& table = place.cache.table(g);
      stats.table_bytes += static_cast<size_t>(table.n_blocks() - table.first_block()) * kTableEntryBytes;
    }
  }
  const PrefixTreeStats tree = impl.prefixes.stats();
  stats.table_bytes += tree.node_bytes;
  stats.prefixes = impl.prefix_stats;
  stats.prefixes.n_nodes = tree.n_nodes;
  stats.prefixes.n_tokens = tree.n_tokens;
  stats.prefixes.n_evicted_blocks = tree.n_evicted_blocks;
  return stats;
}

CacheState KvCache::Impl::copy_state() const {
  CacheState state;
  state.block_tokens = layout.block_tokens;
  state.max_tokens = max_tokens;
  state.limit_bytes = budget.limit_bytes;
  state.reserved_bytes = budget.reserved_bytes;
  state.reservation_alive = reservation_alive;
  state.n_free_sequences = static_cast<int>(free_places.size());
  for (size_t g = 0; g < pools.size(); ++g) state.groups.push_back(copy_pool(pools[g], layout.groups[g].window));
  state.held.resize(pools.size());
  for (const Place& place : places) {
    CacheState::Sequence sequence;
    sequence.len = place.cache.len();
    sequence.n_slots = place.cache.n_slots();
    sequence.begin = place.cache.begin();
    sequence.alive = place.alive;
    sequence.sink_bytes = place.sinks.size_bytes();
    for (int g = 0; g < n_groups(); ++g)
      sequence.tables.push_back(copy_table(place.cache.table(g), place.cache.first_slot(g)));
    state.sequences.push_back(std::move(sequence));
  }
  prefixes.visit([&](const PrefixTree::Visited& node) {
    for (int g = 0; g < n_groups(); ++g)
      if (const BlockId id = node.blocks[static_cast<size_t>(g)]; id != BlockId{})
        state.held[static_cast<size_t>(g)].push_back(id);
  });
  state.broken_tree = prefixes.broken_invariant();
  return state;
}

std::string KvCache::check_invariants() const { return broken_invariant(impl_->copy_state()); }

KvReservation::KvReservation(KvReservation&& other) noexcept : cache_(std::exchange(other.cache_, nullptr)) {}

KvReservation& KvReservation::operator=(KvReservation&& other) noexcept {
  if (this == &other) return *this;
  if (cache_ != nullptr) cache_->roll_back();
  cache_ = std::exchange(other.cache_, nullptr);
  return *this;
}

KvReservation::~KvReservation() {
  if (cache_ != nullptr) cache_->roll_back();
}

void KvReservation::commit_tokens() noexcept {
  if (cache_ != nullptr) std::exchange(cache_, nullptr)->commit_tokens();
}

void KvReservation::commit() noexcept {
  if (cache_ != nullptr) std::exchange(cache_, nullptr)->commit();
}

}  // namespace decant::cache
