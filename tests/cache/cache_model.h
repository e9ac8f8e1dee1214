// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "decant/cache.h"

namespace decant::test {

/// Options of a small cache.
CacheOptions cache_options(KvType type, int block_tokens, size_t limit_bytes = 0);

/// A cache that must come to be; the reference's kernels.
std::unique_ptr<cache::KvCache> make_cache(std::span<const cache::KvLayerShape> layers, const CacheOptions& options,
                                           int max_sequences, int max_tokens);

/// Keys and values of one sequence, kept as plainly as can be: one array a layer, a row a token.
class PlainCache {
 public:
  explicit PlainCache(std::span<const cache::KvLayerShape> layers);

  int len() const { return len_; }
  /// A new token with numbers that both f32 and f16 hold exactly, different for each stamp.
  void append(unsigned stamp);
  void cut(int len);
  const float* k(int layer, int pos) const;
  const float* v(int layer, int pos) const;

 private:
  std::vector<cache::KvLayerShape> layers_;
  std::vector<std::vector<float>> k_, v_;
  int len_ = 0;
};

/// Writes tokens [first, plain.len()) to the reserved slots of a sequence. False if a write was refused.
bool write_tokens(const cache::KvCache& cache, cache::SequenceIndex sequence, const PlainCache& plain, int n_layers,
                  int first);

/// Whether all slots that the cache still has are, bit for bit, what the plain one holds: by copy_out() and by the
/// view's tiles.
bool same_contents(const cache::KvCache& cache, cache::SequenceIndex sequence, const PlainCache& plain,
                   std::span<const cache::KvLayerShape> layers);

}  // namespace decant::test
