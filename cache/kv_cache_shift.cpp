// SPDX-License-Identifier: Apache-2.0

// What moves keys to other positions: remove() closes a gap, slide() brings the sinks after the window.

#include <algorithm>
#include <new>
#include <vector>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/kv_cache_impl.h"

namespace decant::cache {
namespace {

int tile_of(int slot) { return slot / kernels::kTileTokens; }
int lane_of(int slot) { return slot % kernels::kTileTokens; }

}  // namespace

/// Rotates keys of one layer after the other. Takes its memory when it is made: nothing fails halfway.
class Rotator {
 public:
  explicit Rotator(const BlockLayout& layout) {
    size_t most_pairs = 0, most_channels = 0;
    for (const LayerLayout& layer : layout.layers) {
      most_pairs = std::max(most_pairs, layer.inv_freq.size());
      most_channels = std::max(most_channels, static_cast<size_t>(layer.k_dim));
    }
    cos_.resize(most_pairs);
    sin_.resize(most_pairs);
    key_.resize(most_channels);
  }

  /// From here on keys of this layer, by so many positions.
  void set(const LayerLayout& layer, int64_t shift) noexcept {
    layer_ = &layer;
    kernels::rope_angles(layer.inv_freq.data(), half(), shift, cos_.data(), sin_.data());
  }
  int half() const noexcept { return static_cast<int>(layer_->inv_freq.size()); }
  /// Room for a key, [k_dim].
  float* key() noexcept { return key_.data(); }
  void rotate_key(kernels::RopeFn rope) noexcept {
    if (half() > 0) rope(key_.data() + layer_->rotary_begin, cos_.data(), sin_.data(), half());
  }

 private:
  const LayerLayout* layer_ = nullptr;
  std::vector<float> cos_, sin_, key_;
};

Sinks& Sinks::operator=(Sinks&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(budget_, other.budget_);
  std::swap(n_, other.n_);
  return *this;
}

Sinks::~Sinks() {
  if (budget_ != nullptr) budget_->reserved_bytes -= memory_.size_bytes();
}

Result<Sinks> Sinks::take(const BlockLayout& layout, int n, SlabBudget* budget) {
  Sinks sinks;
  sinks.n_ = n;
  const size_t bytes = bytes_for(layout, n);
  if (bytes > budget->left_bytes())
    return Error{ErrorCode::cache_full, detail::format("cache: sinks need {} bytes, {} of {} are taken", bytes,
                                                       budget->reserved_bytes, budget->limit_bytes)};
  sinks.memory_ = Mapping::take(bytes, Mapping::Fault::now);
  if (!sinks.memory_) return no_memory();
  sinks.budget_ = budget;
  budget->reserved_bytes += sinks.memory_.size_bytes();
  return sinks;
}

size_t Sinks::bytes_for(const BlockLayout& layout, int n) noexcept {
  return (bytes_each(layout) * static_cast<size_t>(n) + kPageBytes - 1) / kPageBytes * kPageBytes;
}

size_t Sinks::bytes_each(const BlockLayout& layout) noexcept {
  size_t floats = 0;
  for (const LayerLayout& layer : layout.layers)
    floats += static_cast<size_t>(layer.n_kv_heads) * static_cast<size_t>(layer.k_dim);
  return floats * sizeof(float);
}

float* Sinks::keys(const BlockLayout& layout, int layer, int i) const noexcept {
  size_t before = 0;
  const auto row = [&](int l) {
    return static_cast<size_t>(layout.layers[static_cast<size_t>(l)].n_kv_heads) *
           static_cast<size_t>(layout.layers[static_cast<size_t>(l)].k_dim);
  };
  for (int l = 0; l < layer; ++l) before += row(l) * static_cast<size_t>(n_);
  return reinterpret_cast<float*>(memory_.data()) + before + row(layer) * static_cast<size_t>(i);
}

Result<Sinks> KvCache::Impl::take_sinks(int n) {
  std::fill(n_new.begin(), n_new.end(), 0);
  if (Status room = make_room(Sinks::bytes_for(layout, n)); !room) return std::move(room).error();
  return Sinks::take(layout, n, &budget);
}

/// What a removal does to one group's slots. Blocks are numbered as before it, slots too until move_slots().
struct KvCache::Impl::GapMove {
  int renumber = 0;                    ///< blocks left out at the front, where nothing before the gap is kept
  bool prepend = false;                ///< a block comes before the first that is kept
  int begin_block = 0, end_block = 0;  ///< blocks that are written beside that one
  int from = 0;                        ///< first slot that moves
  int to = 0;                          ///< where it goes
  int first_slot = 0;                  ///< the first one that is there afterwards
};

Result<std::vector<KvCache::Impl::GapMove>> KvCache::Impl::plan_removal(SequenceIndex sequence, int first,
                                                                        int n) const {
  const SequenceCache& cache = places[sequence].cache;
  const int new_len = cache.len() - n;
  std::vector<GapMove> moves(pools.size());
  for (size_t g = 0; g < moves.size(); ++g) {
    const BlockTable& table = cache.table(static_cast<int>(g));
    GapMove& move = moves[g];
    const int kept = cache.first_slot(static_cast<int>(g));
    move.from = std::max(first + n, kept);
    move.to = move.from - n;
    move.first_slot = kept <= first ? kept : move.to;
    if (kept > first) move.renumber = std::min(n / layout.block_tokens, table.n_gone());
    if (const int window = layout.groups[g].window; window > 0 && move.first_slot > std::max(0, new_len - window + 1))
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: sequence {}: a window has given back what would lie in it without {} tokens "
                                  "from {} on",
                                  sequence, n, first)};
    const int to_block = move.to / layout.block_tokens + move.renumber;
    move.prepend = to_block < table.n_gone();
    move.begin_block = std::max(to_block, table.n_gone());
    move.end_block = move.to < new_len ? layout.blocks_for(new_len) + move.renumber : move.begin_block;
  }
  return moves;
}

// Makes every block that is about to be written the sequence's own.
Status KvCache::Impl::claim_blocks(Place& place, std::span<GapMove> moves) {
  SequenceCache& cache = place.cache;
  loosen_published(place);
  for (size_t g = 0; g < moves.size(); ++g)
    n_new[g] = (moves[g].prepend ? 1 : 0) +
               cache.table(static_cast<int>(g)).n_shared(pools[g], moves[g].begin_block, moves[g].end_block);
  fasten_published(place);
  if (Status room = make_room(); !room) return room;
  prefixes.take_back(std::exchange(place.published, {}));
  for (size_t g = 0; g < moves.size(); ++g) {
    BlockTable& table = cache.table(static_cast<int>(g));
    GapMove& move = moves[g];
    if (move.prepend) table.prepend(pools[g]);
    unshare(static_cast<int>(g), table, move.begin_block, move.end_block);
    table.renumber(move.renumber);
    move.from -= move.renumber * layout.block_tokens;
  }
  return {};
}

void KvCache::Impl::unshare(int group, BlockTable& table, int begin, int end) noexcept {
  for (int b = begin; b < end; ++b)
    if (const auto [from, to] = table.unshare(pools[static_cast<size_t>(group)], b); to != nullptr)
      layout.copy_slots(group, from, to, layout.block_tokens);
}

// Slot by slot to the front, keys rotated by −n. False if one doesn't fit its type any more.
bool KvCache::Impl::move_slots(SequenceIndex sequence, std::span<const GapMove> moves, int new_len, int n,
                               Rotator& rotator) const noexcept {
  bool fits = true;
  const auto k_type = static_cast<size_t>(layout.k_type), v_type = static_cast<size_t>(layout.v_type);
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    const GapMove& move = moves[static_cast<size_t>(layer.group)];
    rotator.set(layer, -static_cast<int64_t>(n));
    for (int h = 0; h < layer.n_kv_heads; ++h) {
      const KvView kv = view(sequence, l, h);
      int from = move.from;
      for (int to = move.to; to < new_len; ++to, ++from) {
        std::byte* const k_from = kv.k_tile(tile_of(from));
        std::byte* const k_to = kv.k_tile(tile_of(to));
        if (rotator.half() == 0) {
          kernels.copy_k[k_type](k_from, lane_of(from), layer.k_dim, k_to, lane_of(to));
        } else {
          kernels.load_k[k_type](k_from, lane_of(from), layer.k_dim, rotator.key());
          rotator.rotate_key(rope);
          fits = kernels.store_k[k_type](rotator.key(), layer.k_dim, k_to, lane_of(to)) && fits;
        }
        if (!layer.v_in_k)
          kernels.copy_v[v_type](kv.v_tile(tile_of(from)), lane_of(from), layer.v_dim, kv.v_tile(tile_of(to)),
                                 lane_of(to));
      }
    }
  }
  return fits;
}

Status KvCache::remove(SequenceIndex sequence, int first, int n) try {
  Impl& impl = *impl_;
  if (Status idle = impl.check_idle(sequence); !idle) return idle;
  Impl::Place& place = impl.places[sequence];
  SequenceCache& cache = place.cache;
  if (first < 0 || n < 0 || first > cache.len() || n > cache.len() - first)
    return Error{ErrorCode::invalid_argument, detail::format("cache: sequence {} has {} tokens, not {} from {} on",
                                                             sequence, cache.len(), n, first)};
  if (place.sinks.n() > 0)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sequence {} keeps sinks: its slots stay", sequence)};
  if (n == 0) return {};
  Result<std::vector<Impl::GapMove>> moves = impl.plan_removal(sequence, first, n);
  if (!moves) return moves.error();
  Error too_large{ErrorCode::non_finite,
                  detail::format("cache: a key of sequence {} is too large for the cache's type once it is "
                                 "rotated",
                                 sequence)};
  Rotator rotator(impl.layout);
  if (Status claimed = impl.claim_blocks(place, *moves); !claimed) return claimed;

  const detail::FpState default_state;
  const int new_len = cache.len() - n;
  const bool fit = impl.move_slots(sequence, *moves, new_len, n, rotator);
  for (size_t g = 0; g < moves->size(); ++g) cache.set_first_slot(static_cast<int>(g), (*moves)[g].first_slot);
  cache.close_gap(impl.layout, impl.pools, new_len, first);
  if (!fit) cache.cut(impl.layout, impl.pools, cache.can_cut(impl.layout, first) ? first : 0);
  for (BlockPool& pool : impl.pools) pool.trim();  // a block that was shared may not have been when its turn came
  impl.prefixes.trim_to_budget();
  if (!fit) return too_large;
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

Status KvCache::keep_sinks(SequenceIndex sequence, int n_sinks) try {
  if (Status idle = impl_->check_idle(sequence); !idle) return idle;
  Impl::Place& place = impl_->places[sequence];
  if (place.cache.len() > 0 || n_sinks < 1 || n_sinks > kMaxSinks)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sinks are kept of an empty sequence, 1 to {} of them; sequence {} has {} "
                                "tokens, {} are asked for",
                                kMaxSinks, sequence, place.cache.len(), n_sinks)};
  Result<Sinks> sinks = impl_->take_sinks(n_sinks);
  if (!sinks) return std::move(sinks).error();
  place.sinks = std::move(*sinks);
  place.cache.keep_front();
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

void KvCache::write_sink(SequenceIndex sequence, int layer, int pos, const float* k) const noexcept {
  if (!impl_->alive(sequence) || !impl_->has_layer(layer)) return;
  const Sinks& sinks = impl_->places[sequence].sinks;
  if (pos < 0 || pos >= sinks.n()) return;
  const LayerLayout& l = impl_->layout.layers[static_cast<size_t>(layer)];
  std::copy_n(k, static_cast<size_t>(l.n_kv_heads) * static_cast<size_t>(l.k_dim),
              sinks.keys(impl_->layout, layer, pos));
}

/// use(layer, kv head, sink, key) for every sink's key, rotated as if it stood at begin + sink. False if a call was.
template <typename F>
bool KvCache::Impl::for_rotated_sinks(const Sinks& sinks, int begin, Rotator& rotator, F use) const noexcept {
  bool all = true;
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    for (int i = 0; i < sinks.n(); ++i) {
      rotator.set(layer, int64_t{begin} + i);
      for (int h = 0; h < layer.n_kv_heads; ++h) {
        std::copy_n(sinks.keys(layout, l, i) + static_cast<ptrdiff_t>(h) * layer.k_dim, layer.k_dim, rotator.key());
        rotator.rotate_key(rope);
        all = use(l, h, i, rotator.key()) && all;
      }
    }
  }
  return all;
}

Status KvCache::slide(SequenceIndex sequence, int first) try {
  Impl& impl = *impl_;
  if (Status idle = impl.check_idle(sequence); !idle) return idle;
  const BlockLayout& layout = impl.layout;
  Impl::Place& place = impl.places[sequence];
  SequenceCache& cache = place.cache;
  const int n = place.sinks.n();
  const int old_begin = cache.begin();
  if (n == 0 || first > cache.len() || first <= n || first - n < old_begin + n)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sequence {} of {} tokens with {} sinks at {} cannot slide to {}", sequence,
                                cache.len(), n, old_begin, first)};
  const int begin = first - n;
  Rotator rotator(layout);
  size_t tile_bytes = 0;
  for (const LayerLayout& layer : layout.layers) tile_bytes = std::max(tile_bytes, layer.k_tile_bytes);
  std::vector<std::byte> tile(tile_bytes);
  const detail::FpState default_state;
  const bool fits = impl.for_rotated_sinks(place.sinks, begin, rotator, [&](int l, int, int, const float* key) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    return impl.kernels.store_k[static_cast<size_t>(layout.k_type)](key, layer.k_dim, tile.data(), 0);
  });
  if (!fits)
    return Error{
        ErrorCode::non_finite,
        detail::format("cache: a sink's key of sequence {} is too large for the cache's type at {}", sequence, begin)};
  const int first_block = begin / layout.block_tokens, end_block = (first - 1) / layout.block_tokens + 1;
  for (int g = 0; g < impl.n_groups(); ++g) {
    const BlockTable& table = cache.table(g);
    impl.n_new[static_cast<size_t>(g)] =
        table.n_shared(impl.pools[static_cast<size_t>(g)], std::max(first_block, table.n_gone()), end_block);
  }
  if (Status room = impl.make_room(); !room) return room;

  for (int g = 0; g < impl.n_groups(); ++g)
    impl.unshare(g, cache.table(g), std::max(first_block, cache.table(g).n_gone()), end_block);
  impl.for_rotated_sinks(place.sinks, begin, rotator, [&](int l, int h, int i, const float* key) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    const int from = old_begin + i, to = begin + i;
    const KvView view = impl.view(sequence, l, h);
    if (!layer.v_in_k)
      impl.kernels.copy_v[static_cast<size_t>(layout.v_type)](view.v_tile(tile_of(from)), lane_of(from), layer.v_dim,
                                                              view.v_tile(tile_of(to)), lane_of(to));
    return impl.kernels.store_k[static_cast<size_t>(layout.k_type)](key, layer.k_dim, view.k_tile(tile_of(to)),
                                                                    lane_of(to));
  });
  cache.begin_at(layout, impl.pools, begin);
  for (BlockPool& pool : impl.pools) pool.trim();  // as in remove()
  impl.prefixes.trim_to_budget();
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

}  // namespace decant::cache
