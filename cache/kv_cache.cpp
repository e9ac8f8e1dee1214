// SPDX-License-Identifier: Apache-2.0
#include "cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "decant/detail/check.h"
#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/block_layout.h"
#include "cache/block_pool.h"
#include "cache/invariants.h"
#include "cache/kernels/attention_kernels.h"
#include "cache/mapping.h"
#include "cache/sequence_cache.h"

namespace decant::cache {
namespace {

// An error about memory must not need any: the text is short enough to lie in the string itself.
Error no_memory() { return Error{ErrorCode::out_of_memory, "out of memory"}; }

Status check_counts(int max_sequences, int max_tokens, const BlockLayout& layout, size_t limit_bytes) {
  if (max_sequences < 1 || max_tokens < 1)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: max_sequences {} and max_tokens_per_sequence {} must be positive",
                                max_sequences, max_tokens)};
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

}  // namespace

struct KvCache::Impl {
  struct Place {
    SequenceCache cache;
    bool alive = false;
    int wanted = 0;  ///< tokens that the reserve() in progress adds
  };

  BlockLayout layout;
  const kernels::AttentionKernels* kernels = nullptr;
  int max_tokens = 0;
  size_t limit_bytes = 0;  ///< as asked for: 0 is none
  SlabBudget budget;
  std::vector<BlockPool> pools;  ///< one a group
  Mapping table_memory;          ///< all block tables at full length; pages cost nothing until they are touched
  std::vector<int64_t> n_new;    ///< scratch of reserve(): blocks to take, by group
  std::vector<Place> places;
  std::vector<SequenceIndex> free_places;  ///< the last one is taken next
  std::vector<SequenceIndex> reserved;     ///< sequences of the reservation that is alive
  bool reservation_alive = false;

  bool alive(SequenceIndex s) const noexcept {
    return s >= 0 && s < static_cast<int>(places.size()) && places[s].alive;
  }
  bool set_up_tables(int max_sequences);
  Status add_wishes(std::span<const KvGrowth> growths);
  Status make_room();
  void drop_wishes() noexcept;
  KvView view(SequenceIndex sequence, int layer, int kv_head) const noexcept;
  CacheState copy_state() const;
};

// All tables' pointers, then all their ids: 16 bytes a block, so a page of them stands for 256 blocks.
bool KvCache::Impl::set_up_tables(int max_sequences) {
  const auto n_groups = layout.groups.size();
  const auto per_table = static_cast<size_t>(layout.blocks_for(max_tokens));
  const size_t n_entries = per_table * n_groups * static_cast<size_t>(max_sequences);
  table_memory = Mapping::take(n_entries * (sizeof(std::byte*) + sizeof(BlockId)), Mapping::Fault::on_touch);
  if (!table_memory) return false;
  auto* blocks = reinterpret_cast<std::byte**>(table_memory.data());
  auto* ids = reinterpret_cast<BlockId*>(table_memory.data() + n_entries * sizeof(std::byte*));
  n_new.resize(n_groups);
  places.reserve(static_cast<size_t>(max_sequences));
  free_places.reserve(static_cast<size_t>(max_sequences));
  reserved.reserve(static_cast<size_t>(max_sequences));
  for (int s = 0; s < max_sequences; ++s) {
    std::vector<BlockTable> tables;
    tables.reserve(n_groups);
    for (size_t g = 0; g < n_groups; ++g, blocks += per_table, ids += per_table) tables.emplace_back(blocks, ids);
    places.push_back(Place{SequenceCache(std::move(tables))});
    free_places.push_back(max_sequences - 1 - s);
  }
  return true;
}

Result<std::unique_ptr<KvCache>> KvCache::create(std::span<const KvLayerShape> layers, const CacheOptions& options,
                                                 int max_sequences, int max_tokens_per_sequence, Isa isa) try {
  Result<BlockLayout> layout = BlockLayout::create(layers, options.block_tokens, options.k_type, options.v_type);
  if (!layout) return std::move(layout).error();
  if (Status counts = check_counts(max_sequences, max_tokens_per_sequence, *layout, options.limit_bytes); !counts)
    return std::move(counts).error();

  auto impl = std::make_unique<Impl>();
  impl->layout = std::move(*layout);
  impl->kernels = &kernels::attention_kernels(isa);
  impl->max_tokens = max_tokens_per_sequence;
  impl->limit_bytes = options.limit_bytes;
  if (options.limit_bytes != 0) impl->budget.limit_bytes = options.limit_bytes;
  const int64_t max_blocks = int64_t{impl->layout.blocks_for(max_tokens_per_sequence)} * max_sequences;
  for (const GroupLayout& group : impl->layout.groups)
    impl->pools.emplace_back(group.block_bytes, max_blocks, &impl->budget);
  if (!impl->set_up_tables(max_sequences)) return no_memory();
  return std::unique_ptr<KvCache>(new KvCache(std::move(impl)));
} catch (const std::bad_alloc&) {
  return no_memory();
}

KvCache::KvCache(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
KvCache::~KvCache() = default;

Result<SequenceIndex> KvCache::add_sequence() try {
  if (impl_->free_places.empty())
    return Error{ErrorCode::cache_full, detail::format("cache: all {} sequences are alive", impl_->places.size())};
  const SequenceIndex s = impl_->free_places.back();
  impl_->free_places.pop_back();
  impl_->places[s].alive = true;
  return s;
} catch (const std::bad_alloc&) {
  return no_memory();
}

void KvCache::release(SequenceIndex sequence) noexcept {
  if (!impl_->alive(sequence)) return;
  Impl::Place& place = impl_->places[sequence];
  place.cache.cut(impl_->layout, impl_->pools, 0);
  place.alive = false;
  impl_->free_places.push_back(sequence);  // capacity for all was taken in create()
}

Result<SequenceIndex> KvCache::fork(SequenceIndex sequence) try {
  if (impl_->reservation_alive)
    return Error{ErrorCode::invalid_argument, "cache: a reservation is alive, commit it or let it go first"};
  if (!impl_->alive(sequence))
    return Error{ErrorCode::invalid_argument, detail::format("cache: there is no sequence {}", sequence)};
  Result<SequenceIndex> added = add_sequence();
  if (added) impl_->places[*added].cache.share(impl_->pools, impl_->places[sequence].cache);
  return added;
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<KvReservation> KvCache::reserve(std::span<const KvGrowth> growths) try {
  Impl& impl = *impl_;
  if (impl.reservation_alive)
    return Error{ErrorCode::invalid_argument, "cache: a reservation is alive, commit it or let it go first"};
  Status room = impl.add_wishes(growths);
  if (room) room = impl.make_room();
  if (!room) {
    impl.drop_wishes();
    return std::move(room).error();
  }
  for (const SequenceIndex s : impl.reserved) {
    Impl::Place& place = impl.places[s];
    place.cache.grow(impl.layout, impl.pools, place.cache.len() + std::exchange(place.wanted, 0));
  }
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
    if (growth.n_tokens < 0 || growth.n_tokens > max_tokens - place.cache.len() - place.wanted)
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: sequence {} has {} tokens and cannot grow by {}: at most {}", growth.sequence,
                                  place.cache.len() + place.wanted, growth.n_tokens, max_tokens)};
    if (growth.n_tokens == 0) continue;
    if (place.wanted == 0) reserved.push_back(growth.sequence);
    place.wanted += growth.n_tokens;
  }
  return {};
}

// Whether the limit allows it is decided before anything is taken; then only the operating system can say no.
Status KvCache::Impl::make_room() {
  std::fill(n_new.begin(), n_new.end(), 0);
  for (const SequenceIndex s : reserved)
    places[s].cache.plan(layout, pools, places[s].cache.len() + places[s].wanted, n_new);
  size_t missing = 0;
  for (size_t g = 0; g < pools.size(); ++g) missing += pools[g].missing_bytes(n_new[g]);
  if (missing > budget.left_bytes())
    return Error{ErrorCode::cache_full, detail::format("cache: needs {} bytes more, {} of {} are taken", missing,
                                                       budget.reserved_bytes, budget.limit_bytes)};
  for (size_t g = 0; g < pools.size(); ++g) {
    const size_t spare = budget.left_bytes() - missing;
    missing -= pools[g].missing_bytes(n_new[g]);
    if (!pools[g].make_free(n_new[g], spare)) return no_memory();
  }
  return {};
}

// After a reserve() that failed: all as it was.
void KvCache::Impl::drop_wishes() noexcept {
  for (const SequenceIndex s : reserved) {
    places[s].cache.abandon(pools);
    places[s].wanted = 0;
  }
  reserved.clear();
  for (BlockPool& pool : pools) pool.trim();
}

void KvCache::commit() noexcept {
  for (const SequenceIndex s : impl_->reserved) impl_->places[s].cache.commit(impl_->layout, impl_->pools);
  impl_->reserved.clear();
  impl_->reservation_alive = false;
}

void KvCache::roll_back() noexcept {
  for (const SequenceIndex s : impl_->reserved) {
    SequenceCache& sequence = impl_->places[s].cache;
    sequence.cut(impl_->layout, impl_->pools, sequence.len());
  }
  impl_->reserved.clear();
  impl_->reservation_alive = false;
}

Status KvCache::truncate(SequenceIndex sequence, int len) try {
  if (impl_->reservation_alive)
    return Error{ErrorCode::invalid_argument, "cache: a reservation is alive, commit it or let it go first"};
  if (!impl_->alive(sequence))
    return Error{ErrorCode::invalid_argument, detail::format("cache: there is no sequence {}", sequence)};
  SequenceCache& cache = impl_->places[sequence].cache;
  if (len < 0 || len > cache.len())
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sequence {} has {} tokens, cannot be cut to {}", sequence, cache.len(), len)};
  if (!cache.can_cut(impl_->layout, len))
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sequence {} cannot be cut to {}: a window has given back what that needs",
                                sequence, len)};
  cache.cut(impl_->layout, impl_->pools, len);
  return {};
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
  view.first = table.n_outlived() * layout.block_tokens;
  view.k_dim = l.k_dim;
  view.v_dim = l.v_dim;
  view.k_type = layout.k_type;
  view.v_type = layout.v_type;
  view.k_tile_bytes = l.k_tile_bytes;
  view.v_tile_bytes = l.v_tile_bytes;
  view.v_in_k = l.v_in_k;
  return view;
}

KvView KvCache::view(SequenceIndex sequence, int layer, int kv_head) const noexcept {
  if (!impl_->alive(sequence)) return {};
  DECANT_CHECK(layer >= 0 && layer < static_cast<int>(impl_->layout.layers.size()), "a layer of the model");
  DECANT_CHECK(kv_head >= 0 && kv_head < impl_->layout.layers[layer].n_kv_heads, "a kv head of the layer");
  return impl_->view(sequence, layer, kv_head);
}

bool KvCache::write(SequenceIndex sequence, int layer, int pos, const float* k, const float* v) const noexcept {
  if (!impl_->alive(sequence)) return false;
  DECANT_CHECK(pos >= impl_->places[sequence].cache.len() && pos < impl_->places[sequence].cache.n_slots(),
               "only reserved slots are written");
  const detail::FpState default_state;
  const LayerLayout& l = impl_->layout.layers[layer];
  const auto store_k = impl_->kernels->store_k[static_cast<int>(impl_->layout.k_type)];
  const auto store_v = impl_->kernels->store_v[static_cast<int>(impl_->layout.v_type)];
  const int tile = pos / kernels::kTileTokens, lane = pos % kernels::kTileTokens;
  KvView view = impl_->view(sequence, layer, 0);
  for (int h = 0; h < l.n_kv_heads; ++h, k += l.k_dim) {
    if (!store_k(k, l.k_dim, view.k_tile(tile), lane)) return false;
    if (!l.v_in_k) {
      if (!store_v(v, l.v_dim, view.v_tile(tile), lane)) return false;
      v += l.v_dim;
    }
    view.k_offset += l.head_stride;
    view.v_offset += l.head_stride;
  }
  return true;
}

Status KvCache::copy_out(SequenceIndex sequence, int layer, int first, int n, float* k, float* v) const try {
  if (!impl_->alive(sequence) || layer < 0 || layer >= static_cast<int>(impl_->layout.layers.size()))
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: there is no sequence {} or layer {}", sequence, layer)};
  KvView view = impl_->view(sequence, layer, 0);
  if (first < 0 || n < 0 || first > view.len || n > view.len - first || (n > 0 && first < view.first))
    return Error{ErrorCode::invalid_argument, detail::format("cache: sequence {} keeps slots {} to {}, not {} from {}",
                                                             sequence, view.first, view.len, n, first)};
  const detail::FpState default_state;
  const LayerLayout& l = impl_->layout.layers[layer];
  const auto load_k = impl_->kernels->load_k[static_cast<int>(impl_->layout.k_type)];
  const auto load_v = impl_->kernels->load_v[static_cast<int>(impl_->layout.v_type)];
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
  CacheStats stats;
  stats.limit_bytes = impl_->limit_bytes;
  stats.reserved_bytes = impl_->budget.reserved_bytes;
  for (const BlockPool& pool : impl_->pools) {
    stats.used_bytes += static_cast<size_t>(pool.n_used()) * pool.block_bytes();
    stats.n_blocks_used += pool.n_used();
    stats.n_blocks_free += pool.n_free();
  }
  stats.n_sequences = static_cast<int>(impl_->places.size() - impl_->free_places.size());
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
  for (const Place& place : places) {
    CacheState::Sequence sequence{place.cache.len(), place.cache.n_slots(), place.alive, {}};
    for (size_t g = 0; g < pools.size(); ++g)
      sequence.tables.push_back(copy_table(place.cache.table(static_cast<int>(g))));
    state.sequences.push_back(std::move(sequence));
  }
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

void KvReservation::commit() noexcept {
  if (cache_ != nullptr) std::exchange(cache_, nullptr)->commit();
}

}  // namespace decant::cache
