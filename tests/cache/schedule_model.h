// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "decant/cache.h"

namespace decant::test {

/// What a cache must hold of one token: for each layer the rows that copy_out() gives.
struct TokenRows {
  std::vector<std::vector<float>> k, v;
};
using TokenRowsPtr = std::shared_ptr<const TokenRows>;

/// Keys and values out of a hash, and what becomes of them: stored to a type and read back, rotated. By the reference's
/// rows alone, without blocks, pools or tables.
class RowMaker {
 public:
  RowMaker(std::vector<cache::KvLayerShape> layers, KvType k_type, KvType v_type);

  /// A text's hash with one more token.
  static uint64_t extend(uint64_t hash, int32_t id);
  static uint64_t begin(const std::string& salt);

  /// What the engine would write for the token whose text up to it has this hash.
  std::vector<float> k(int layer, uint64_t hash) const;
  std::vector<float> v(int layer, uint64_t hash) const;
  /// The same key before rotation, for write_sink().
  std::vector<float> sink_key(int layer, uint64_t hash) const { return k(layer, ~hash); }

  /// What comes back of it.
  TokenRowsPtr stored(uint64_t hash);
  /// After its keys were rotated by `shift` positions and stored once more.
  TokenRowsPtr shifted(const TokenRows& rows, int64_t shift) const;
  /// Keys from unrotated ones, one a layer, at position pos; values as they were.
  TokenRowsPtr sink_at(const std::vector<std::vector<float>>& keys, const TokenRows& old, int64_t pos) const;

 private:
  std::vector<float> round_trip(int layer, const std::vector<float>& row, bool key) const;
  void rotate(int layer, int64_t shift, std::vector<float>& key) const;
  void set_values(int layer, TokenRows& rows, const std::vector<float>& v) const;

  std::vector<cache::KvLayerShape> layers_;
  KvType k_type_, v_type_;
  std::unordered_map<uint64_t, TokenRowsPtr> made_;
};

/// One sequence, as plainly as can be.
struct ModelSequence {
  std::string salt;
  int script = 0;  ///< which text it is made to say
  std::vector<int32_t> ids;
  std::vector<uint64_t> hashes;
  std::vector<TokenRowsPtr> rows;
  int begin = 0;  ///< where slide() let it begin; rows before are null
  int n_sinks = 0;
  std::vector<std::vector<std::vector<float>>> sink_keys;  ///< [n_sinks][n_layers][n_kv_heads · k_dim]

  int len() const { return static_cast<int>(ids.size()); }
  void append(int32_t id, RowMaker& maker);
  void cut(int len);
};

/// Whether the cache has every slot that it must have, and all it has are, bit for bit, the model's.
bool same_contents(const cache::KvCache& cache, cache::SequenceIndex s, const ModelSequence& model,
                   const std::vector<cache::KvLayerShape>& layers);

/// The first slot that a query at `len` and later attends to, in a layer.
int needed_from(const ModelSequence& model, const cache::KvLayerShape& layer, int len);

/// Everything that stats() says.
bool same_stats(const CacheStats& a, const CacheStats& b);

/// A sentence about the first sum that isn't right, or empty.
std::string broken_stats(const CacheStats& stats);

}  // namespace decant::test
