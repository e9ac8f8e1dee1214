// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/attention.h"
#include "decant/export.h"
#include "decant/isa.h"
#include "decant/options.h"
#include "decant/result.h"
#include "decant/stats.h"

namespace decant::cache {

/// Shape of what one layer keeps.
struct KvLayerShape {
  int n_kv_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  int window = 0;  ///< a query at p attends to slots > p − window; 0: to all
  /// V is the first v_dim ≤ k_dim channels of K, stored once (latent attention). write() then ignores v. Not with
  /// KvType::q4.
  bool v_in_k = false;
  /// How keys were rotated before they were written, for remove() and slide(): pairs (x[rotary_begin + i],
  /// x[rotary_begin + half + i]) by pos · inv_freq[i] radians, half = inv_freq.size(). Empty: keys don't depend on
  /// positions. Copied in create().
  std::span<const double> inv_freq = {};
  int rotary_begin = 0;
};

/// A sequence of a cache. A later one may have it again.
using SequenceIndex = int32_t;

inline constexpr int kMaxSinks = 64;  ///< most tokens that keep_sinks() keeps

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
  DECANT_API KvReservation(KvReservation&& other) noexcept;
  DECANT_API KvReservation& operator=(KvReservation&& other) noexcept;
  DECANT_API ~KvReservation();

  /// The reserved tokens become part of their sequences. Blocks that slid out of every window go back to the pool.
  DECANT_API void commit() noexcept;
  /// The same, but windows keep what they have until KvCache::give_back(): for those who publish a prefix in between.
  DECANT_API void commit_tokens() noexcept;

 private:
  friend class KvCache;
  explicit KvReservation(KvCache* cache) noexcept : cache_(cache) {}
  KvCache* cache_ = nullptr;
};

/// What a snapshot was made of and for, compared exactly when it is restored. Free text; the layout is compared beside.
struct SnapshotIdentity {
  std::string model;              ///< for people: its name
  std::string model_fingerprint;  ///< of the weights
  std::string numerics;           ///< whatever else decides a key's bits
  bool operator==(const SnapshotIdentity&) const = default;
};

/// A sequence that came out of a snapshot.
struct RestoredSequence {
  SequenceIndex sequence = 0;
  std::vector<std::byte> payload;  ///< as save() was given it
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
/// A block may belong to several sequences, and to the tree of known prefixes; only a block with one owner is written.
///
/// Slabs of blocks are taken from the operating system on demand, faulted in at once, and count against the limit as a
/// whole; they hold whole blocks and nothing else. A slab without a used block goes back at once, none is kept in
/// spare. What a free block held stays in it: a reserved slot reads as old or zero values until it is written.
///
/// One thread at a time may change a cache; views may be read, and distinct slots written, by many threads in between.
/// attend() reads whole tiles: nobody may write to a slot of the same 16 meanwhile.
/// Every call that returns an Error has changed nothing, unless it says otherwise. A call that names a sequence that
/// isn't alive, or that changes sequences while a reservation is alive, returns `invalid_argument`.
class DECANT_API KvCache {
 public:
  /// options.limit_bytes 0: no limit. max_sequences · bytes_needed(max_tokens) is always enough for sequences of
  /// max_tokens. Errors: `invalid_argument` (shapes, block_tokens, limit below one block of each group),
  /// `out_of_memory`, `unsupported` (an ISA that the CPU lacks).
  static Result<std::unique_ptr<KvCache>> create(std::span<const KvLayerShape> layers, const CacheOptions& options,
                                                 int max_sequences, int max_tokens, Isa isa);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // Sequences

  /// An empty sequence. `cache_full` if max_sequences are alive. Takes no memory. Indices are below max_sequences and
  /// come again after release().
  Result<SequenceIndex> add_sequence();
  /// Ends a sequence; its blocks are free at once, but for those that other sequences or the tree of prefixes share.
  void release(SequenceIndex sequence) noexcept;

  /// A new sequence that begins with the same committed tokens. Shares every block, so that it takes no memory and no
  /// time but a pointer a block; windows, truncation and release of either don't touch the other. The last block, if
  /// partly full, is copied when one of them grows into it, and stays a copy if that is rolled back. `cache_full` if
  /// max_sequences are alive.
  Result<SequenceIndex> fork(SequenceIndex sequence);

  /// Committed tokens: the next one stands at this slot.
  int length(SequenceIndex sequence) const noexcept;

  // Growing

  /// Makes room for every growth or for none. Known prefixes that no sequence uses make way where the limit asks for
  /// it. `cache_full` beyond the limit, `out_of_memory` if the operating system has no more, `invalid_argument` for a
  /// negative growth, one past max_tokens, or while another reservation is alive. A sequence may be named more than
  /// once: its growths add up. Allocates only when a slab is needed. The cache must outlive the reservation.
  Result<KvReservation> reserve(std::span<const KvGrowth> growths);

  /// Gives blocks back that slid out of every window, after KvReservation::commit_tokens().
  void give_back(SequenceIndex sequence) noexcept;

  /// Writes a token's keys [n_kv_heads, k_dim] and values [n_kv_heads, v_dim] of a layer to slot pos, which must be
  /// reserved. False if a value doesn't fit the cache's types or is not finite, or if there is no such slot.
  bool write(SequenceIndex sequence, int layer, int pos, const float* k, const float* v) const noexcept;

  // Reading

  /// K≤i and V≤i of a layer and kv head, reserved slots included in `len`. Empty if there is no such sequence, layer or
  /// head.
  KvView view(SequenceIndex sequence, int layer, int kv_head) const noexcept;

  /// Copies slots [first, first + n) of a layer out as plain [n, n_kv_heads, k_dim] and [n, n_kv_heads, v_dim]; either
  /// may be null. `invalid_argument` if a slot isn't there.
  Status copy_out(SequenceIndex sequence, int layer, int first, int n, float* k, float* v) const;

  // Cutting and shifting

  /// Cuts a sequence to its first len tokens, 0 ≤ len ≤ length(sequence), and returns how many it has now: len, or 0
  /// where a window has given back what the next token would attend to (windows keep CacheOptions::rollback_tokens more
  /// than they need) or sinks that have moved would be cut. Tokens from there on must be computed again.
  /// `invalid_argument` for another len.
  Result<int> truncate(SequenceIndex sequence, int len);

  /// Takes tokens [first, first + n) out and closes the gap: later slots move n down, and their keys, which stood at
  /// position p, are rotated by −n positions. A key goes stored type → f32 → rotated → rounded to the type once more;
  /// values move bit for bit. An approximation: the tokens that stay have seen those that went. The bits don't depend
  /// on block size, threads or ISA. Shared blocks are copied first: `cache_full`, `out_of_memory`.
  /// `invalid_argument` for a range outside the sequence, where a window lacks what would lie in it afterwards, and
  /// with sinks; `non_finite` where a rotated key doesn't fit its type: then the sequence is cut to `first`.
  Status remove(SequenceIndex sequence, int first, int n);

  // Endless sequences: attention sinks and a recent window. Xiao et al. 2023 (arXiv:2309.17453).

  /// Keeps unrotated copies of the keys of the first n_sinks tokens of an empty sequence, in f32, for slide(). Takes
  /// n_sinks · Σ n_kv_heads · k_dim · 4 bytes, whole pages, out of the limit. 1 ≤ n_sinks ≤ kMaxSinks.
  Status keep_sinks(SequenceIndex sequence, int n_sinks);
  /// Notes the keys [n_kv_heads, k_dim] of token pos < n_sinks before rotation; beside write(). Nothing happens for
  /// another pos.
  void write_sink(SequenceIndex sequence, int layer, int pos, const float* k) const noexcept;
  /// Forgets everything between the sinks and slot `first` > n_sinks: the sinks move to slots [first − n_sinks, first),
  /// their keys rotated anew to those positions from the unrotated copies, their values bit for bit; view().first is
  /// first − n_sinks then, and whole blocks before it are free. Later slots keep their positions and their bits.
  /// `invalid_argument` unless `first` is at most length() and beyond an earlier slide's. Shared blocks that the sinks
  /// move into are copied first: `cache_full`, `out_of_memory`.
  Status slide(SequenceIndex sequence, int first);

  // Known prefixes, shared among sequences. Off with CacheOptions::prefix_bytes 0.

  /// Gives an empty sequence the longest known prefix of `tokens`: whole blocks shared, the rest of the last one
  /// copied where there is room. Tenants of different `salt` never share.
  PrefixHit adopt_prefix(SequenceIndex sequence, std::string_view salt, std::span<const int32_t> tokens);
  /// Makes the committed tokens of a sequence, whose ids are `tokens` (length() of them or more), known to later
  /// sequences of the same salt. Among what nobody uses, lower `priority` (0 to 100) makes way first, then what was
  /// used longest ago. Slots that remove() or slide() touched are not shared. Without memory for it nothing happens.
  void publish_prefix(SequenceIndex sequence, std::string_view salt, std::span<const int32_t> tokens, int priority);
  /// Forgets all prefixes.
  void forget_prefixes() noexcept;
  /// Forgets those of one salt.
  void forget_prefixes(std::string_view salt) noexcept;

  // Snapshots

  /// Saves the committed tokens of a sequence: written to a temporary file beside `path`, synced, renamed. `payload` is
  /// the caller's own and comes back with restore(). Errors: `io` (the old file, if any, is untouched),
  /// `out_of_memory`.
  Status save(SequenceIndex sequence, const std::string& path, const SnapshotIdentity& identity,
              std::span<const std::byte> payload) const;
  /// Adds a sequence from a file, all of it or nothing. Errors: `io`, `bad_format` (anything that doesn't agree with
  /// its checksum or its own counts), `unsupported` (a later version), `mismatch` (identity or layout, both sides
  /// named), `cache_full`, `out_of_memory`.
  Result<RestoredSequence> restore(const std::string& path, const SnapshotIdentity& identity);
  /// Saves all known prefixes. Errors: as save().
  Status save_prefixes(const std::string& path, const SnapshotIdentity& identity) const;
  /// Adds the prefixes of a file to those that are known already: tokens restored. All blocks are read before the first
  /// prefix becomes known; where memory runs out after that, those that came in stay known. Errors: as restore().
  Result<int64_t> restore_prefixes(const std::string& path, const SnapshotIdentity& identity);

  // Bounds and reports

  /// Bytes of blocks that one new sequence of n_tokens takes when it is reserved at once, to the byte; a sequence that
  /// is reserved and committed piece by piece takes less where layers have windows. Beyond max_tokens: as at it.
  size_t bytes_needed(int n_tokens) const noexcept;
  /// Bytes that keep_sinks() takes.
  size_t sink_bytes(int n_sinks) const noexcept;

  /// What sequences would take of the limit if they grew by so much, piece by piece; nothing changes.
  struct Forecast {
    size_t needed_bytes = 0;     ///< beside the blocks that they have
    size_t available_bytes = 0;  ///< within the limit, prefixes that nobody uses included
    bool fits = true;            ///< reserve() would find room for all of it
  };
  static constexpr SequenceIndex kNewSequence = -1;  ///< for forecast(): one that begins empty
  /// at_once: tokens that a sequence grows by at a time, at most: layers with windows keep those of a piece beside the
  /// window. `invalid_argument` for a growth that is negative, past max_tokens, or of a sequence that isn't alive.
  /// Reads the block tables only.
  Result<Forecast> forecast(std::span<const KvGrowth> growths, int at_once) const;

  CacheStats stats() const noexcept;  ///< what it holds now

  /// A sentence about the first broken invariant, or empty. For tests: O(blocks).
  std::string check_invariants() const;

 private:
  friend class KvReservation;
  struct DECANT_LOCAL Impl;
  DECANT_LOCAL explicit KvCache(std::unique_ptr<Impl> impl) noexcept;
  DECANT_LOCAL void commit_tokens() noexcept;
  DECANT_LOCAL void commit() noexcept;
  DECANT_LOCAL void roll_back() noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace decant::cache
