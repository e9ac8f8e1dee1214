// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "decant/attention.h"

#include "cache/kernels/attention_kernels.h"
#include "tests/cache/kernels/guarded_buffer.h"

namespace decant::test {

/// What one kv head keeps.
struct HeadShape {
  KvType k_type = KvType::f32, v_type = KvType::f32;
  int k_dim = 0, v_dim = 0;
  bool v_in_k = false;
  bool k_last = false;  ///< K after V, so that what is read beyond K is seen
};

/// K and V of one kv head in blocks of any size, every slot poisoned until it is written.
class PagedHead {
 public:
  PagedHead(const kernels::AttentionKernels& kernels, const HeadShape& shape, int block_tokens, int n_slots)
      : kernels_(kernels) {
    const size_t n_tiles = static_cast<size_t>(block_tokens) / kernels::kTileTokens;
    const size_t k_tile_bytes = kernels::kv_k_tile_bytes(shape.k_type, shape.k_dim);
    const size_t v_tile_bytes = shape.v_in_k ? 0 : kernels::kv_v_tile_bytes(shape.v_type, shape.v_dim);
    const size_t n_blocks = static_cast<size_t>((n_slots + block_tokens - 1) / block_tokens);
    constexpr size_t kLead = 64;  // whatever other heads would keep before this one's tiles
    for (size_t i = 0; i < n_blocks; ++i) {
      // All bits set is a NaN as an element or as a scale. A read beyond a block traps.
      const size_t bytes = kLead + n_tiles * (k_tile_bytes + v_tile_bytes);
      storage_.push_back(std::make_unique<GuardedBuffer<std::byte>>(bytes));
      blocks_.push_back(storage_.back()->data());
      std::memset(blocks_.back(), 0xFF, bytes);
    }
    view_ = {.blocks = blocks_.data(),
             .k_offset = kLead + (shape.k_last ? n_tiles * v_tile_bytes : 0),
             .v_offset = kLead + (shape.k_last ? 0 : n_tiles * k_tile_bytes),
             .k_tile_bytes = k_tile_bytes,
             .v_tile_bytes = v_tile_bytes,
             .block_tokens = block_tokens,
             .len = n_slots,
             .first = 0,
             .k_dim = shape.k_dim,
             .v_dim = shape.v_dim,
             .k_type = shape.k_type,
             .v_type = shape.v_type,
             .v_in_k = shape.v_in_k};
  }

  bool write(int slot, const float* k, const float* v) {
    const int tile = slot / kernels::kTileTokens;
    const int lane = slot % kernels::kTileTokens;
    const bool k_fits = kernels_.store_k[static_cast<int>(view_.k_type)](k, view_.k_dim, view_.k_tile(tile), lane);
    if (view_.v_in_k) return k_fits;
    const bool v_fits = kernels_.store_v[static_cast<int>(view_.v_type)](v, view_.v_dim, view_.v_tile(tile), lane);
    return k_fits && v_fits;
  }

  /// Writes the rows of k [n, k_dim] and v [n, v_dim] to slots [first, last). False if a value doesn't fit.
  bool write_rows(const std::vector<float>& k, const std::vector<float>& v, int first, int last) {
    bool fits = true;
    for (int j = first; j < last; ++j)
      fits = write(j, k.data() + ptrdiff_t{j} * view_.k_dim, v.data() + ptrdiff_t{j} * view_.v_dim) && fits;
    return fits;
  }

  /// Gives back every block that lies wholly before slot `first`, as a sliding window does.
  void drop_before(int first) {
    for (size_t i = 0; (i + 1) * static_cast<size_t>(view_.block_tokens) <= static_cast<size_t>(first); ++i)
      blocks_[i] = nullptr;
    view_.first = first;
  }

  const cache::KvView& view() const { return view_; }

 private:
  const kernels::AttentionKernels& kernels_;
  std::vector<std::unique_ptr<GuardedBuffer<std::byte>>> storage_;
  std::vector<std::byte*> blocks_;
  cache::KvView view_;
};

/// Slot by slot what attention reads of a head's K or V: [len, dim]. Of q4, the rotated row; so pass it as q4_plain.
inline std::vector<float> stored_keys(const kernels::AttentionKernels& kernels, const cache::KvView& kv, KvType type) {
  std::vector<float> rows(static_cast<size_t>(kv.len) * static_cast<size_t>(kv.k_dim));
  for (int j = 0; j < kv.len; ++j)
    kernels.load_k[static_cast<int>(type)](kv.k_tile(j / kernels::kTileTokens), j % kernels::kTileTokens, kv.k_dim,
                                           rows.data() + ptrdiff_t{j} * kv.k_dim);
  return rows;
}
inline std::vector<float> stored_values(const kernels::AttentionKernels& kernels, const cache::KvView& kv,
                                        KvType type) {
  std::vector<float> rows(static_cast<size_t>(kv.len) * static_cast<size_t>(kv.v_dim));
  for (int j = 0; j < kv.len; ++j)
    kernels.load_v[static_cast<int>(type)](kv.v_tile(j / kernels::kTileTokens), j % kernels::kTileTokens, kv.v_dim,
                                           rows.data() + ptrdiff_t{j} * kv.v_dim);
  return rows;
}

struct Outputs {
  std::vector<float> out;
  std::vector<float> lse;
};

/// A group of query heads over one kv head.
struct Group {
  int n_tokens = 1, n_group = 1, first_pos = 0;
  std::vector<float> q;  ///< [n_tokens, n_group, k_dim]
  cache::AttentionParams params;
};

inline cache::AttentionQueries queries_of(const Group& group, const cache::KvView& kv, Outputs& to) {
  const size_t n_rows = static_cast<size_t>(group.n_tokens) * group.n_group;
  to.out.assign(n_rows * kv.v_dim, std::numeric_limits<float>::quiet_NaN());
  to.lse.assign(n_rows, std::numeric_limits<float>::quiet_NaN());
  return {.q = group.q.data(),
          .q_stride = static_cast<ptrdiff_t>(group.n_group) * kv.k_dim,
          .out = to.out.data(),
          .out_stride = static_cast<ptrdiff_t>(group.n_group) * kv.v_dim,
          .lse = to.lse.data(),
          .n_tokens = group.n_tokens,
          .n_group = group.n_group,
          .first_pos = group.first_pos};
}

/// Exactly as much scratch as is asked for.
inline std::unique_ptr<GuardedBuffer<float>> scratch_for(const Group& group, const cache::KvView& kv) {
  return std::make_unique<GuardedBuffer<float>>(
      cache::attend_scratch_floats(group.n_tokens * group.n_group, kv.k_dim, kv.v_dim, kv.v_in_k));
}

inline Outputs run(Isa isa, const cache::KvView& kv, const Group& group) {
  Outputs result;
  cache::attend(isa, kv, queries_of(group, kv, result), group.params, scratch_for(group, kv)->data());
  return result;
}

inline Outputs run_in_parts(Isa isa, const cache::KvView& kv, const Group& group) {
  Outputs result;
  const cache::AttentionQueries queries = queries_of(group, kv, result);
  const cache::ChunkRange chunks = cache::attended_chunks(queries, group.params);
  const size_t n_chunks = static_cast<size_t>(chunks.last - chunks.first);
  const size_t n_rows = static_cast<size_t>(group.n_tokens) * group.n_group;
  std::vector<float> m(n_chunks * n_rows), l(n_chunks * n_rows), o(n_chunks * n_rows * kv.v_dim);
  const auto scratch = scratch_for(group, kv);
  for (size_t i = n_chunks; i-- > 0;)  // in any order
    cache::attend_partial(isa, {&kv, 1}, queries, group.params,
                          {chunks.first + static_cast<int>(i), chunks.first + static_cast<int>(i) + 1},
                          {m.data() + i * n_rows, l.data() + i * n_rows, o.data() + i * n_rows * kv.v_dim, 0},
                          scratch->data());
  cache::attend_merge(isa, kv, queries, group.params, static_cast<int>(n_chunks), m.data(), l.data(), o.data());
  return result;
}

/// Normal floats from a seed.
inline std::vector<float> random_floats(size_t n, uint32_t seed, float deviation = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline bool same(const Outputs& a, const Outputs& b) { return same_bits(a.out, b.out) && same_bits(a.lse, b.lse); }

/// Switches of a call, by number, so that a loop meets all of them.
inline cache::AttentionParams params_of(int variant, const float* slopes, const float* sinks) {
  cache::AttentionParams params{.scale = 0.3F};
  if ((variant & 1) != 0) params.window = 37;
  if ((variant & 2) != 0) params.softcap = 2.5F;
  if ((variant & 4) != 0) params.alibi_slopes = slopes;
  if ((variant & 8) != 0) params.sinks = sinks;
  return params;
}

inline constexpr float kSlopes[] = {0.5F, 0.25F, 0.03F, 0.01F, 0.004F, 0.002F, 0.001F, 0.7F, 0.9F};
inline constexpr float kSinks[] = {1.0F, -2.0F, 3.0F, 0.0F, 12.0F, -20.0F, 0.5F, 0.25F, 2.0F};

}  // namespace decant::test
