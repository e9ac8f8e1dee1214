// SPDX-License-Identifier: Apache-2.0
#include "tests/cache/schedule_model.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <utility>

#include <doctest/doctest.h>

#include "cache/kernels/attention_kernels.h"
#include "cache/kernels/rope.h"

namespace decant::test {
namespace {

// Steele et al. 2014, SplitMix64.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

std::vector<float> numbers(uint64_t seed, int n) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i)  // within ±4
    out.push_back(static_cast<float>(static_cast<int32_t>(mix(seed + static_cast<uint64_t>(i)) >> 32)) * 0x1p-29F);
  return out;
}

bool same_bits(const float* a, const std::vector<float>& b) {
  return std::memcmp(a, b.data(), b.size() * sizeof(float)) == 0;
}

}  // namespace

RowMaker::RowMaker(std::vector<cache::KvLayerShape> layers, KvType k_type, KvType v_type)
    : layers_(std::move(layers)), k_type_(k_type), v_type_(v_type) {}

uint64_t RowMaker::extend(uint64_t hash, int32_t id) { return mix(hash ^ mix(static_cast<uint64_t>(id) + 1)); }
uint64_t RowMaker::begin(const std::string& salt) { return mix(std::hash<std::string>()(salt)); }

std::vector<float> RowMaker::k(int layer, uint64_t hash) const {
  const cache::KvLayerShape& l = layers_[static_cast<size_t>(layer)];
  return numbers(mix(hash + static_cast<uint64_t>(layer)), l.n_kv_heads * l.k_dim);
}

std::vector<float> RowMaker::v(int layer, uint64_t hash) const {
  const cache::KvLayerShape& l = layers_[static_cast<size_t>(layer)];
  return numbers(mix(hash - 1 - static_cast<uint64_t>(layer)), l.n_kv_heads * l.v_dim);
}

std::vector<float> RowMaker::round_trip(int layer, const std::vector<float>& row, bool key) const {
  const cache::KvLayerShape& l = layers_[static_cast<size_t>(layer)];
  const kernels::AttentionKernels& table = kernels::attention_kernels(Isa::reference);
  const auto type = static_cast<size_t>(key ? k_type_ : v_type_);
  const int dim = key ? l.k_dim : l.v_dim;
  std::vector<std::byte> tile(key ? kernels::kv_k_tile_bytes(k_type_, dim) : kernels::kv_v_tile_bytes(v_type_, dim));
  std::vector<float> out(row.size());
  for (int h = 0; h < l.n_kv_heads; ++h) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(h) * dim;
    REQUIRE((key ? table.store_k : table.store_v)[type](row.data() + at, dim, tile.data(), 3));
    (key ? table.load_k : table.load_v)[type](tile.data(), 3, dim, out.data() + at);
  }
  if ((key ? k_type_ : v_type_) == KvType::f32) REQUIRE(same_bits(row.data(), out));
  return out;
}

void RowMaker::set_values(int layer, TokenRows& rows, const std::vector<float>& v) const {
  const cache::KvLayerShape& l = layers_[static_cast<size_t>(layer)];
  if (!l.v_in_k) {
    rows.v.push_back(v);
    return;
  }
  std::vector<float>& out = rows.v.emplace_back();
  const std::vector<float>& key = rows.k[static_cast<size_t>(layer)];
  for (int h = 0; h < l.n_kv_heads; ++h)
    out.insert(out.end(), key.begin() + static_cast<ptrdiff_t>(h) * l.k_dim,
               key.begin() + static_cast<ptrdiff_t>(h) * l.k_dim + l.v_dim);
}

TokenRowsPtr RowMaker::stored(uint64_t hash) {
  TokenRowsPtr& made = made_[hash];
  if (made != nullptr) return made;
  auto rows = std::make_shared<TokenRows>();
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    rows->k.push_back(round_trip(layer, k(layer, hash), true));
    set_values(layer, *rows, round_trip(layer, v(layer, hash), false));
  }
  return made = rows;
}

void RowMaker::rotate(int layer, int64_t shift, std::vector<float>& key) const {
  const cache::KvLayerShape& l = layers_[static_cast<size_t>(layer)];
  const auto half = static_cast<int>(l.inv_freq.size());
  std::vector<float> cos(l.inv_freq.size()), sin(l.inv_freq.size());
  kernels::rope_angles(l.inv_freq.data(), half, shift, cos.data(), sin.data());
  for (int h = 0; h < l.n_kv_heads; ++h)
    kernels::rope_kernel(Isa::reference)(key.data() + static_cast<ptrdiff_t>(h) * l.k_dim + l.rotary_begin, cos.data(),
                                         sin.data(), half);
}

TokenRowsPtr RowMaker::shifted(const TokenRows& rows, int64_t shift) const {
  auto moved = std::make_shared<TokenRows>();
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    const auto at = static_cast<size_t>(layer);
    std::vector<float> key = rows.k[at];
    if (!layers_[at].inv_freq.empty()) {
      rotate(layer, shift, key);
      key = round_trip(layer, key, true);
    }
    moved->k.push_back(std::move(key));
    set_values(layer, *moved, rows.v[at]);
  }
  return moved;
}

TokenRowsPtr RowMaker::sink_at(const std::vector<std::vector<float>>& keys, const TokenRows& old, int64_t pos) const {
  auto moved = std::make_shared<TokenRows>();
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    const auto at = static_cast<size_t>(layer);
    std::vector<float> key = keys[at];
    if (!layers_[at].inv_freq.empty()) rotate(layer, pos, key);
    moved->k.push_back(round_trip(layer, key, true));
    set_values(layer, *moved, old.v[at]);
  }
  return moved;
}

void ModelSequence::append(int32_t id, RowMaker& maker) {
  hashes.push_back(RowMaker::extend(hashes.empty() ? RowMaker::begin(salt) : hashes.back(), id));
  ids.push_back(id);
  rows.push_back(maker.stored(hashes.back()));
}

void ModelSequence::cut(int len) {
  const auto n = static_cast<size_t>(len);
  ids.resize(n);
  hashes.resize(n);
  rows.resize(n);
  if (len == 0) begin = 0;
}

int needed_from(const ModelSequence& model, const cache::KvLayerShape& layer, int len) {
  return std::max(model.begin, layer.window == 0 ? 0 : len - layer.window + 1);
}

bool same_contents(const cache::KvCache& cache, cache::SequenceIndex s, const ModelSequence& model,
                   const std::vector<cache::KvLayerShape>& layers) {
  if (cache.length(s) != model.len()) return false;
  std::vector<float> k, v;
  for (int l = 0; l < static_cast<int>(layers.size()); ++l) {
    const cache::KvLayerShape& layer = layers[static_cast<size_t>(l)];
    const cache::KvView view = cache.view(s, l, 0);
    if (view.len != model.len() || view.first > std::max(0, needed_from(model, layer, model.len()))) return false;
    const int n = std::max(0, view.len - view.first);
    const auto k_row = static_cast<size_t>(layer.n_kv_heads * layer.k_dim),
               v_row = static_cast<size_t>(layer.n_kv_heads * layer.v_dim);
    k.resize(static_cast<size_t>(n) * k_row);
    v.resize(static_cast<size_t>(n) * v_row);
    if (!cache.copy_out(s, l, std::min(view.first, view.len), n, k.data(), v.data())) return false;
    for (int i = 0; i < n; ++i) {
      const TokenRows& rows = *model.rows[static_cast<size_t>(view.first + i)];
      if (!same_bits(k.data() + static_cast<size_t>(i) * k_row, rows.k[static_cast<size_t>(l)]) ||
          !same_bits(v.data() + static_cast<size_t>(i) * v_row, rows.v[static_cast<size_t>(l)]))
        return false;
    }
  }
  return true;
}

bool same_stats(const CacheStats& a, const CacheStats& b) {
  const PrefixStats &p = a.prefixes, &q = b.prefixes;
  return a.limit_bytes == b.limit_bytes && a.reserved_bytes == b.reserved_bytes && a.used_bytes == b.used_bytes &&
         a.unique_bytes == b.unique_bytes && a.shared_bytes == b.shared_bytes && a.prefix_bytes == b.prefix_bytes &&
         a.free_bytes == b.free_bytes && a.sink_bytes == b.sink_bytes && a.n_blocks_used == b.n_blocks_used &&
         a.n_blocks_shared == b.n_blocks_shared && a.n_blocks_free == b.n_blocks_free &&
         a.n_sequences == b.n_sequences && a.n_tokens == b.n_tokens && p.n_nodes == q.n_nodes &&
         p.n_tokens == q.n_tokens && p.n_lookups == q.n_lookups && p.n_hits == q.n_hits &&
         p.n_hit_tokens == q.n_hit_tokens && p.n_asked_tokens == q.n_asked_tokens &&
         p.n_evicted_blocks == q.n_evicted_blocks;
}

std::string broken_stats(const CacheStats& stats) {
  if (stats.used_bytes != stats.unique_bytes + stats.shared_bytes + stats.prefix_bytes)
    return "used bytes aren't the sum of unique, shared and known ones";
  if (stats.reserved_bytes != stats.used_bytes + stats.free_bytes + stats.sink_bytes)
    return "reserved bytes aren't the sum of used, free and sinks' ones";
  if (stats.limit_bytes != 0 && stats.reserved_bytes > stats.limit_bytes) return "more is reserved than the limit";
  if (stats.n_blocks_shared > stats.n_blocks_used) return "more blocks are shared than used";
  return {};
}

}  // namespace decant::test
