// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "cache/attention.h"

namespace decant::test {

/// K and V of one kv head in blocks of any size, every slot poisoned with NaN until it is written.
class PagedHead {
 public:
  PagedHead(const kernels::AttentionKernels& kernels, KvType k_type, KvType v_type, int k_dim, int v_dim,
            int block_tokens, int n_slots)
      : kernels_(kernels) {
    const size_t k_bytes = static_cast<size_t>(block_tokens) * k_dim * kernels::kv_type_bytes(k_type);
    const size_t v_bytes = static_cast<size_t>(block_tokens) * v_dim * kernels::kv_type_bytes(v_type);
    const size_t n_blocks = static_cast<size_t>((n_slots + block_tokens - 1) / block_tokens);
    constexpr size_t kLead = 64;  // whatever other heads would keep before this one's tiles
    for (size_t i = 0; i < n_blocks; ++i) {
      // All bits set is a NaN in either type. Each block is its own allocation, so that a read beyond one is seen.
      storage_.emplace_back(kLead + k_bytes + v_bytes, std::byte{0xFF});
      blocks_.push_back(storage_.back().data());
    }
    view_ = {.blocks = blocks_.data(),
             .k_offset = kLead,
             .v_offset = kLead + k_bytes,
             .block_tokens = block_tokens,
             .len = n_slots,
             .first = 0,
             .k_dim = k_dim,
             .v_dim = v_dim,
             .k_type = k_type,
             .v_type = v_type};
  }

  bool write(int slot, const float* k, const float* v) {
    const int tile = slot / kernels::kTileTokens;
    const int lane = slot % kernels::kTileTokens;
    const bool k_fits = kernels_.store_k[static_cast<int>(view_.k_type)](k, view_.k_dim, view_.k_tile(tile), lane);
    const bool v_fits = kernels_.store_v[static_cast<int>(view_.v_type)](v, view_.v_dim, view_.v_tile(tile), lane);
    return k_fits && v_fits;
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
  std::vector<std::vector<std::byte>> storage_;
  std::vector<std::byte*> blocks_;
  cache::KvView view_;
};

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

}  // namespace decant::test
