// SPDX-License-Identifier: Apache-2.0
#include "tests/cache/cache_model.h"

#include <algorithm>
#include <cstring>

#include <doctest/doctest.h>

namespace decant::test {
namespace {

using cache::KvLayerShape;

size_t k_row(const KvLayerShape& layer) {
  return static_cast<size_t>(layer.n_kv_heads) * static_cast<size_t>(layer.k_dim);
}
size_t v_row(const KvLayerShape& layer) {
  return static_cast<size_t>(layer.n_kv_heads) * static_cast<size_t>(layer.v_dim);
}

// 11 bits of a mixed counter, scaled: exact in f16, seldom the same in neighbours.
float exact_number(uint32_t n) {
  n = (n ^ (n >> 16)) * 0x45D9F3BU;
  n = (n ^ (n >> 16)) * 0x45D9F3BU;
  return (static_cast<float>((n >> 8) % 2048) - 1024.0F) / 256.0F;
}

}  // namespace

CacheOptions cache_options(KvType type, int block_tokens, size_t limit_bytes) {
  CacheOptions options;
  options.k_type = type;
  options.v_type = type;
  options.block_tokens = block_tokens;
  options.limit_bytes = limit_bytes;
  return options;
}

std::unique_ptr<cache::KvCache> make_cache(std::span<const KvLayerShape> layers, const CacheOptions& options,
                                           int max_sequences, int max_tokens) {
  auto made = cache::KvCache::create(layers, options, max_sequences, max_tokens, Isa::reference);
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  return std::move(*made);
}

PlainCache::PlainCache(std::span<const KvLayerShape> layers)
    : layers_(layers.begin(), layers.end()), k_(layers.size()), v_(layers.size()) {}

void PlainCache::append(unsigned stamp) {
  for (size_t l = 0; l < layers_.size(); ++l) {
    uint32_t n = stamp * 7919U + static_cast<uint32_t>(l) * 104729U;
    for (size_t i = 0; i < k_row(layers_[l]); ++i) k_[l].push_back(exact_number(n++));
    for (size_t i = 0; i < v_row(layers_[l]); ++i) v_[l].push_back(exact_number(n++));
  }
  ++len_;
}

void PlainCache::cut(int len) {
  for (size_t l = 0; l < layers_.size(); ++l) {
    k_[l].resize(static_cast<size_t>(len) * k_row(layers_[l]));
    v_[l].resize(static_cast<size_t>(len) * v_row(layers_[l]));
  }
  len_ = len;
}

const float* PlainCache::k(int layer, int pos) const {
  return k_[layer].data() + static_cast<size_t>(pos) * k_row(layers_[layer]);
}
const float* PlainCache::v(int layer, int pos) const {
  return v_[layer].data() + static_cast<size_t>(pos) * v_row(layers_[layer]);
}

bool write_tokens(const cache::KvCache& cache, cache::SequenceIndex sequence, const PlainCache& plain, int n_layers,
                  int first) {
  for (int pos = first; pos < plain.len(); ++pos)
    for (int l = 0; l < n_layers; ++l)
      if (!cache.write(sequence, l, pos, plain.k(l, pos), plain.v(l, pos))) return false;
  return true;
}

namespace {

// Reads one f32 tile element by the documented layout, independent of the kernels.
bool same_f32_tiles(const cache::KvView& view, int kv_head, int layer, const PlainCache& plain) {
  for (int pos = view.first; pos < view.len; ++pos) {
    const auto* k_tile = reinterpret_cast<const float*>(view.k_tile(pos / 16));
    const auto* v_tile = reinterpret_cast<const float*>(view.v_tile(pos / 16));
    const float* k = plain.k(layer, pos) + static_cast<ptrdiff_t>(kv_head) * view.k_dim;
    const float* v = plain.v(layer, pos) + static_cast<ptrdiff_t>(kv_head) * view.v_dim;
    for (int c = 0; c < view.k_dim; ++c)
      if (k_tile[c * 16 + pos % 16] != k[c]) return false;
    for (int c = 0; c < view.v_dim; ++c)
      if (v_tile[pos % 16 * view.v_dim + c] != v[c]) return false;
  }
  return true;
}

}  // namespace

bool same_contents(const cache::KvCache& cache, cache::SequenceIndex sequence, const PlainCache& plain,
                   std::span<const KvLayerShape> layers) {
  if (cache.length(sequence) != plain.len()) return false;
  for (int l = 0; l < static_cast<int>(layers.size()); ++l) {
    const cache::KvView view = cache.view(sequence, l, 0);
    if (view.len != plain.len()) return false;
    const int first = std::min(view.first, view.len), n = view.len - first;
    std::vector<float> k(static_cast<size_t>(n) * k_row(layers[l])), v(static_cast<size_t>(n) * v_row(layers[l]));
    if (!cache.copy_out(sequence, l, first, n, k.data(), v.data())) return false;
    if (!std::equal(k.begin(), k.end(), plain.k(l, first)) || !std::equal(v.begin(), v.end(), plain.v(l, first)))
      return false;
    if (view.k_type != KvType::f32 || view.v_type != KvType::f32) continue;
    for (int h = 0; h < layers[l].n_kv_heads; ++h)
      if (!same_f32_tiles(cache.view(sequence, l, h), h, l, plain)) return false;
  }
  return true;
}

}  // namespace decant::test
