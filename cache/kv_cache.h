// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "decant/attention.h"
#include "decant/options.h"
#include "decant/result.h"
#include "decant/stats.h"

namespace decant::cache {

/// Shape of what one layer keeps.
struct KvLayerShape {
  int n_kv_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  int window = 0;       ///< a query at p attends to slots > p − window; 0: to all
  bool v_in_k = false;  ///< values are the first v_dim ≤ k_dim channels of the keys, stored once; not for keys of q4
};

using SequenceIndex = int32_t;

/// A wish to append n_tokens to a sequence.
struct KvGrowth {
  SequenceIndex sequence = 0;
  int n_tokens = 0;
};

class KvCache;

/// Slots that were reserved and may be written. Gives them back when destroyed, unless commit() made them part of their
/// sequences. Movable. At most one is alive per cache.
class [[nodiscard]] KvReservation {
 public:
  KvReservation() = default;
  KvReservation(KvReservation&& other) noexcept;
  KvReservation& operator=(KvReservation&& other) noexcept;
  ~KvReservation();

  /// The reserved tokens become part of their sequences. Blocks that slid out of every window go back to the pool.
  void commit() noexcept;

 private:
  friend class KvCache;
  explicit KvReservation(KvCache* cache) noexcept : cache_(cache) {}
  KvCache* cache_ = nullptr;
};

/// Keys and values of many sequences, in blocks from one pool a group. Knows no model.
///
/// Layers with the same window form a group; a sequence has one block table a group, which grows by appending. A block
/// holds block_tokens slots for every layer and kv head of its group:
///
///   table of a sequence          block of a group          run of a head (block_tokens 32)
///   ┌───┬───┬───┬───┐            ┌──────────────────┐      ┌────────────────┐
///   │ 0 │ 1 │ 2 │ 3 │ ─────────▶ │ layer a   head 0 │ ───▶ │ K slots  0…15  │  tile [k_dim, 16]: a channel of 16 slots
///   └───┴───┴───┴───┘            │           head 1 │      │ K slots 16…31  │  side by side, the lanes of a score
///   oldest first; null where     │ layer b   head 0 │      ├────────────────┤  64-byte aligned, as is each run
///   a window gave one back       │           …      │      │ V slots  0…15  │  tile [16, v_dim]: a slot's channels
///                                │ (to whole pages) │      │ V slots 16…31  │  side by side
///                                └──────────────────┘      └────────────────┘
///
/// Slabs of blocks are taken from the operating system on demand, faulted in at once, and count against the limit as a
/// whole; they hold whole blocks and nothing else. A slab without a used block goes back at once, none is kept in
/// spare. What a free block held stays in it: a reserved slot reads as old or zero values until it is written.
///
/// One thread at a time may change a cache; views may be read, and distinct slots written, by many threads in between.
class KvCache {
 public:
  /// options.limit_bytes 0: no limit. max_sequences · bytes_needed(max_tokens_per_sequence) is always enough.
  /// Errors: `invalid_argument` (shapes, block_tokens, limit below one block of each group), `out_of_memory`.
  static Result<std::unique_ptr<KvCache>> create(std::span<const KvLayerShape> layers, const CacheOptions& options,
                                                 int max_sequences, int max_tokens_per_sequence, Isa isa);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// An empty sequence. `cache_full` if max_sequences are alive. Takes no memory. Indices are below max_sequences and
  /// come again after release().
  Result<SequenceIndex> add_sequence();
  /// Ends a sequence; its blocks are free at once.
  void release(SequenceIndex sequence) noexcept;

  /// A new sequence that begins with the same committed tokens. Shares every block, so that it takes no memory and no
  /// time but a pointer a block; windows, truncation and release of either don't touch the other. The last block, if
  /// partly full, is copied when one of them grows into it, and stays a copy if that is rolled back. `cache_full` if
  /// max_sequences are alive, `invalid_argument` if there is no such sequence or while a reservation is alive.
  Result<SequenceIndex> fork(SequenceIndex sequence);

  /// Makes room for every growth or for none. `cache_full` beyond the limit, `out_of_memory` if the operating system
  /// has no more, `invalid_argument` for a sequence that isn't alive, a negative growth, one past
  /// max_tokens_per_sequence, or while another reservation is alive; nothing has changed then. A sequence may be named
  /// more than once: its growths add up. Allocates only when a slab is needed. The cache must outlive the reservation.
  Result<KvReservation> reserve(std::span<const KvGrowth> growths);

  /// Cuts a sequence to its first len tokens, 0 ≤ len ≤ length(sequence). `invalid_argument` otherwise, while a
  /// reservation is alive, or if a window has given back what a query at len attends to; 0 is always possible.
  Status truncate(SequenceIndex sequence, int len);

  /// Committed tokens.
  int length(SequenceIndex sequence) const noexcept;

  /// K≤i and V≤i of a layer and kv head, reserved slots included in `len`. Empty if there is no such sequence.
  KvView view(SequenceIndex sequence, int layer, int kv_head) const noexcept;

  /// Writes a token's keys [n_kv_heads, k_dim] and values [n_kv_heads, v_dim] of a layer to slot pos, which must be
  /// reserved. False if a value doesn't fit the cache's types or is not finite. v is not read where values are inside
  /// keys.
  bool write(SequenceIndex sequence, int layer, int pos, const float* k, const float* v) const noexcept;

  /// Copies slots [first, first + n) of a layer out as plain [n, n_kv_heads, k_dim] and [n, n_kv_heads, v_dim]; either
  /// may be null. `invalid_argument` if a slot isn't there.
  Status copy_out(SequenceIndex sequence, int layer, int first, int n, float* k, float* v) const;

  /// Bytes of blocks that one new sequence of n_tokens takes when it is reserved at once, to the byte; a sequence that
  /// is reserved and committed piece by piece takes less where layers have windows. Beyond max_tokens_per_sequence: as
  /// at it.
  size_t bytes_needed(int n_tokens) const noexcept;

  CacheStats stats() const noexcept;

  /// A sentence about the first broken invariant, or empty. For tests: O(blocks).
  std::string check_invariants() const;

 private:
  friend class KvReservation;
  struct Impl;
  explicit KvCache(std::unique_ptr<Impl> impl) noexcept;
  void commit() noexcept;
  void roll_back() noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace decant::cache
