// SPDX-License-Identifier: Apache-2.0

// What moves keys to other positions: remove() closes a gap, slide() brings the sinks after the window.

#include <algorithm>
#include <new>
#include <vector>

#include "decant/detail/check.h"
#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/kv_cache_impl.h"

namespace decant::cache {
namespace {

constexpr int kMaxSinks = 64;

/// Cosines and sines of one shift, for one layer.
struct Rotation {
  std::vector<float> cos, sin;
  int begin = 0;

  Rotation(const LayerLayout& layer, int64_t shift) : cos(layer.inv_freq.size()), sin(layer.inv_freq.size()) {
    begin = layer.rotary_begin;
    kernels::rope_angles(layer.inv_freq.data(), half(), shift, cos.data(), sin.data());
  }
  int half() const { return static_cast<int>(cos.size()); }
  void apply(kernels::RopeFn rope, float* key) const { rope(key + begin, cos.data(), sin.data(), half()); }
};

int tile_of(int slot) { return slot / kernels::kTileTokens; }
int lane_of(int slot) { return slot % kernels::kTileTokens; }

}  // namespace

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
  const size_t bytes = (sinks.key_bytes(layout) + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (bytes > budget->left_bytes())
    return Error{ErrorCode::cache_full, detail::format("cache: sinks need {} bytes, {} of {} are taken", bytes,
                                                       budget->reserved_bytes, budget->limit_bytes)};
  sinks.memory_ = Mapping::take(bytes, Mapping::Fault::now);
  if (!sinks.memory_) return no_memory();
  sinks.budget_ = budget;
  budget->reserved_bytes += sinks.memory_.size_bytes();
  return sinks;
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

  // What moves, by group, and the blocks that it moves into.
  struct Move {
    int renumber = 0;  ///< blocks left out at the front, where nothing before the gap is kept
    bool prepend = false;
    int begin_block = 0, end_block = 0;  ///< written, but for one that is prepended; numbered as before
    int from = 0;                        ///< first slot that moves, numbered as before
    int to = 0;                          ///< where it goes
    int first_slot = 0;                  ///< the first one that is there afterwards
  };
  const BlockLayout& layout = impl.layout;
  const int new_len = cache.len() - n;
  std::vector<Move> moves(impl.pools.size());
  impl.prefixes.take_back(std::exchange(place.published, {}));
  for (size_t g = 0; g < moves.size(); ++g) {
    const BlockTable& table = cache.table(static_cast<int>(g));
    Move& move = moves[g];
    const int kept = cache.first_slot(static_cast<int>(g));
    move.from = std::max(first + n, kept);
    move.to = move.from - n;
    move.first_slot = kept <= first ? kept : move.to;
    if (kept > first) move.renumber = std::min(n / layout.block_tokens, table.n_gone());
    if (const int window = layout.groups[g].window; window > 0 && move.first_slot > std::max(0, new_len - window + 1))
      return Error{ErrorCode::invalid_argument,
                   detail::format("cache: sequence {}: a window has given back what would lie in it without {} from {} "
                                  "on",
                                  sequence, n, first)};
    const int to_block = move.to / layout.block_tokens + move.renumber;  // numbered as now
    move.prepend = to_block < table.n_gone();
    move.begin_block = std::max(to_block, table.n_gone());
    move.end_block = move.to < new_len ? layout.blocks_for(new_len) + move.renumber : move.begin_block;
    impl.n_new[g] = (move.prepend ? 1 : 0) + table.n_shared(impl.pools[g], move.begin_block, move.end_block);
  }
  if (Status room = impl.make_room(); !room) {
    for (BlockPool& pool : impl.pools) pool.trim();
    return room;
  }

  const detail::FpState default_state;
  for (size_t g = 0; g < moves.size(); ++g) {
    BlockTable& table = cache.table(static_cast<int>(g));
    Move& move = moves[g];
    if (move.prepend) table.prepend(impl.pools[g]);
    for (int b = move.begin_block; b < move.end_block; ++b)
      if (const auto [from, to] = table.unshare(impl.pools[g], b); to != nullptr)
        layout.copy_slots(static_cast<int>(g), from, to, layout.block_tokens);
    table.renumber(move.renumber);
    move.from -= move.renumber * layout.block_tokens;
  }

  bool fits = true;
  std::vector<float> key;
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    const Move& move = moves[static_cast<size_t>(layer.group)];
    const Rotation rotation(layer, -static_cast<int64_t>(n));
    key.resize(static_cast<size_t>(layer.k_dim));
    const auto k_type = static_cast<size_t>(layout.k_type), v_type = static_cast<size_t>(layout.v_type);
    for (int h = 0; h < layer.n_kv_heads; ++h) {
      const KvView view = impl.view(sequence, l, h);
      int from = move.from;
      for (int to = move.to; to < new_len; ++to, ++from) {
        std::byte* const k_from = view.k_tile(tile_of(from));
        std::byte* const k_to = view.k_tile(tile_of(to));
        if (rotation.half() == 0) {
          impl.kernels.copy_k[k_type](k_from, lane_of(from), layer.k_dim, k_to, lane_of(to));
        } else {
          impl.kernels.load_k[k_type](k_from, lane_of(from), layer.k_dim, key.data());
          rotation.apply(impl.rope, key.data());
          fits = impl.kernels.store_k[k_type](key.data(), layer.k_dim, k_to, lane_of(to)) && fits;
        }
        if (!layer.v_in_k)
          impl.kernels.copy_v[v_type](view.v_tile(tile_of(from)), lane_of(from), layer.v_dim, view.v_tile(tile_of(to)),
                                      lane_of(to));
      }
    }
  }

  for (size_t g = 0; g < moves.size(); ++g) cache.set_first_slot(static_cast<int>(g), moves[g].first_slot);
  cache.close_gap(layout, impl.pools, new_len, first);
  for (BlockPool& pool : impl.pools) pool.trim();  // a block that was shared may not have been when its turn came
  impl.prefixes.trim_to_budget();
  if (fits) return {};
  cache.cut(layout, impl.pools, cache.can_cut(layout, first) ? first : 0);
  return Error{
      ErrorCode::non_finite,
      detail::format("cache: a key of sequence {} is too large for the cache's type once it is rotated", sequence)};
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
  Result<Sinks> sinks = Sinks::take(impl_->layout, n_sinks, &impl_->budget);
  if (!sinks) return sinks.error();
  place.sinks = std::move(*sinks);
  place.cache.keep_front();
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

void KvCache::write_sink(SequenceIndex sequence, int layer, int pos, const float* k) const noexcept {
  if (!impl_->alive(sequence)) return;
  const Sinks& sinks = impl_->places[sequence].sinks;
  DECANT_CHECK(pos >= 0 && pos < sinks.n(), "a sink's position");
  const LayerLayout& l = impl_->layout.layers[static_cast<size_t>(layer)];
  std::copy_n(k, static_cast<size_t>(l.n_kv_heads) * static_cast<size_t>(l.k_dim),
              sinks.keys(impl_->layout, layer, pos));
}

/// use(layer, kv head, sink, key) for every sink's key, rotated as if it stood at begin + sink. False if a call was.
template <typename F>
bool KvCache::Impl::for_rotated_sinks(const Sinks& sinks, int begin, F use) const {
  std::vector<float> key;
  bool all = true;
  for (int l = 0; l < static_cast<int>(layout.layers.size()); ++l) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    key.resize(static_cast<size_t>(layer.k_dim));
    for (int i = 0; i < sinks.n(); ++i) {
      const Rotation rotation(layer, int64_t{begin} + i);
      for (int h = 0; h < layer.n_kv_heads; ++h) {
        std::copy_n(sinks.keys(layout, l, i) + static_cast<ptrdiff_t>(h) * layer.k_dim, layer.k_dim, key.data());
        if (rotation.half() > 0) rotation.apply(rope, key.data());
        all = use(l, h, i, key.data()) && all;
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
  const int old_begin = cache.begin(), begin = first - n;
  if (n == 0 || first > cache.len() || begin < old_begin + n || begin <= 0)
    return Error{ErrorCode::invalid_argument,
                 detail::format("cache: sequence {} of {} tokens with {} sinks at {} cannot slide to {}", sequence,
                                cache.len(), n, old_begin, first)};
  std::vector<std::byte> tile;
  const detail::FpState default_state;
  const bool fits = impl.for_rotated_sinks(place.sinks, begin, [&](int l, int, int, const float* key) {
    const LayerLayout& layer = layout.layers[static_cast<size_t>(l)];
    tile.resize(layer.k_tile_bytes);
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
  if (Status room = impl.make_room(); !room) {
    for (BlockPool& pool : impl.pools) pool.trim();
    return room;
  }

  for (int g = 0; g < impl.n_groups(); ++g) {
    BlockTable& table = cache.table(g);
    for (int b = std::max(first_block, table.n_gone()); b < end_block; ++b)
      if (const auto [from, to] = table.unshare(impl.pools[static_cast<size_t>(g)], b); to != nullptr)
        layout.copy_slots(g, from, to, layout.block_tokens);
  }
  impl.for_rotated_sinks(place.sinks, begin, [&](int l, int h, int i, const float* key) {
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
