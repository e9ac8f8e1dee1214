// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "decant/cache.h"

#include "cache/block_layout.h"
#include "cache/block_pool.h"
#include "cache/invariants.h"
#include "cache/kernels/attention_kernels.h"
#include "cache/kernels/rope.h"
#include "cache/mapping.h"
#include "cache/prefix_tree.h"
#include "cache/sequence_cache.h"

namespace decant::cache {

/// An error about memory must not need any: the text is short enough to lie in the string itself.
inline Error no_memory() { return Error{ErrorCode::out_of_memory, "out of memory"}; }

class Rotator;
class SnapshotReader;
struct SnapshotSequence;

constexpr int kMaxSlot = std::numeric_limits<int>::max() - 4096;  // room to count a chunk beyond

/// Unrotated keys of a sequence's first tokens: for each layer [n, n_kv_heads, k_dim]. Counted in the budget.
class Sinks {
 public:
  Sinks() = default;
  Sinks(Sinks&& other) noexcept { *this = std::move(other); }
  Sinks& operator=(Sinks&& other) noexcept;
  ~Sinks();

  static Result<Sinks> take(const BlockLayout& layout, int n, SlabBudget* budget);

  /// Bytes that n sinks take out of the budget.
  static size_t bytes_for(const BlockLayout& layout, int n) noexcept;
  /// Bytes of one token's keys.
  static size_t bytes_each(const BlockLayout& layout) noexcept;

  int n() const noexcept { return n_; }
  size_t size_bytes() const noexcept { return memory_.size_bytes(); }
  /// Bytes of the keys themselves.
  size_t key_bytes(const BlockLayout& layout) const noexcept { return bytes_each(layout) * static_cast<size_t>(n_); }
  /// Token i's keys of a layer.
  float* keys(const BlockLayout& layout, int layer, int i) const noexcept;

 private:
  Mapping memory_;
  SlabBudget* budget_ = nullptr;
  int n_ = 0;
};

struct KvCache::Impl {
  struct Place {
    SequenceCache cache;
    Sinks sinks;
    NodeId published;  ///< where the tree of prefixes knows its end, if it does
    bool alive = false;
    int wanted = 0;  ///< tokens that the reserve() in progress adds
  };

  Impl(BlockLayout layout, Isa isa, int max_sequences, int max_tokens, const CacheOptions& options);

  BlockLayout layout;
  const kernels::AttentionKernels& kernels;
  kernels::RopeFn rope;
  int max_tokens;
  size_t limit_bytes;  ///< as asked for: 0 is none
  SlabBudget budget;
  std::vector<BlockPool> pools;  ///< one a group
  PrefixTree prefixes;
  bool shares_prefixes;
  PrefixStats prefix_stats;    ///< what only counts up, but for evictions
  Mapping table_memory;        ///< all block tables at full length; pages cost nothing until they are touched
  std::vector<int64_t> n_new;  ///< scratch of reserve(): blocks to take, by group
  std::vector<Place> places;
  std::vector<SequenceIndex> free_places;  ///< the last one is taken next
  std::vector<SequenceIndex> reserved;     ///< sequences of the reservation that is alive
  bool reservation_alive = false;

  int n_groups() const noexcept { return static_cast<int>(pools.size()); }
  bool alive(SequenceIndex s) const noexcept {
    return s >= 0 && s < static_cast<int>(places.size()) && places[s].alive;
  }
  bool has_layer(int layer) const noexcept { return layer >= 0 && layer < static_cast<int>(layout.layers.size()); }
  /// `invalid_argument` while a reservation is alive; and unless the sequence is.
  Status check_no_reservation() const;
  Status check_idle(SequenceIndex s) const;
  bool set_up_tables(int max_sequences);
  Result<SequenceIndex> add_sequence();
  void release(SequenceIndex s) noexcept;
  Status add_wishes(std::span<const KvGrowth> growths);
  /// Free blocks for n_new, by group, and bytes_beside left in the budget; prefixes that nobody uses make way. On an
  /// error no sequence has changed.
  Status make_room(size_t bytes_beside = 0) noexcept;
  /// Sinks; prefixes that nobody uses make way.
  Result<Sinks> take_sinks(int n);
  void plan_growth() noexcept;
  /// While it is counted what will be shared, the tree lets go of the end that a sequence published. Nothing may be
  /// evicted in between.
  void loosen_published(Place& place) noexcept;
  void fasten_published(const Place& place) noexcept;
  bool drop_tree_for_growth() noexcept;
  bool can_make_room(size_t bytes_beside = 0) const noexcept;
  void drop_wishes() noexcept;
  struct GapMove;
  Result<std::vector<GapMove>> plan_removal(SequenceIndex sequence, int first, int n) const;
  Status claim_blocks(Place& place, std::span<GapMove> moves);
  void unshare(int group, BlockTable& table, int begin, int end) noexcept;
  bool move_slots(SequenceIndex sequence, std::span<const GapMove> moves, int new_len, int n,
                  Rotator& rotator) const noexcept;
  template <typename F>
  bool for_rotated_sinks(const Sinks& sinks, int begin, Rotator& rotator, F use) const noexcept;
  KvView view(SequenceIndex sequence, int layer, int kv_head) const noexcept;
  PrefixHit adopt(Place& place, std::string_view salt, std::span<const int32_t> tokens);
  Status fill(Place& place, const SnapshotSequence& saved, const SnapshotReader& reader, const std::string& path);
  Result<int64_t> fill_prefixes(const SnapshotReader& reader);
  CacheState copy_state() const;
};

}  // namespace decant::cache
