// SPDX-License-Identifier: Apache-2.0

// Attention of one decoding step, or of 16 tokens of a prompt: bytes of K and V a second, by element type, ISA and
// context. 8 kv heads of 4 query heads, head_dim 64, blocks of 64, as in a layer of a 1B Llama; and latent attention:
// 16 query heads over one key of 576 channels whose first 512 are the value. The blocks of 16 layers (4 latent ones)
// are walked in turn, so that no context is found in a cache it would not be in when a model runs.

#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include "decant/attention.h"

#include "cache/kernels/attention_kernels.h"

namespace decant::cache {
namespace {

constexpr int kBlockTokens = 64;
constexpr size_t kBlockTiles = kBlockTokens / kTileTokens;

/// What a layer keeps; tiles are a whole number of lines for these dimensions and any type.
struct Shape {
  KvType type;
  int n_layers, n_kv_heads, n_group, k_dim, v_dim;
  bool v_in_k;

  size_t k_tile_bytes() const { return kernels::kv_k_tile_bytes(type, k_dim); }
  size_t v_tile_bytes() const { return v_in_k ? 0 : kernels::kv_v_tile_bytes(type, v_dim); }
  size_t head_bytes() const { return kBlockTiles * (k_tile_bytes() + v_tile_bytes()); }
  size_t block_bytes() const { return static_cast<size_t>(n_kv_heads) * head_bytes(); }
};

Shape llama_1b(KvType type) { return {type, 16, 8, 4, 64, 64, false}; }
Shape latent(KvType type) { return {type, 4, 1, 16, 576, 512, true}; }

/// Zeroed bytes on huge pages where the system has them, as the cache's slabs are.
class HugeBytes {
 public:
  explicit HugeBytes(size_t n) : n_((n + kPage - 1) / kPage * kPage), data_(std::aligned_alloc(kPage, n_)) {
    if (data_ == nullptr) throw std::bad_alloc();
    madvise(data_, n_, MADV_HUGEPAGE);
    std::memset(data_, 0, n_);
  }
  HugeBytes(const HugeBytes& other) : HugeBytes(other.n_) { std::memcpy(data_, other.data_, n_); }
  HugeBytes(HugeBytes&& other) noexcept : n_(std::exchange(other.n_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  HugeBytes& operator=(HugeBytes&&) = delete;
  ~HugeBytes() { std::free(data_); }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return n_; }

 private:
  static constexpr size_t kPage = size_t{2} << 20;
  size_t n_;
  void* data_;
};

/// One layer's blocks, as a cache keeps them: head by head K tiles, then V tiles.
struct Layer {
  Shape shape;
  HugeBytes bytes;
  std::vector<std::byte*> blocks;

  Layer(const kernels::AttentionKernels& kernels, const Shape& layer_shape, int n_slots)
      : shape(layer_shape),
        bytes(static_cast<size_t>((n_slots + kBlockTokens - 1) / kBlockTokens) * shape.block_bytes()) {
    point_at_blocks();
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(shape.k_dim));
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      const KvView kv = view(head, n_slots);
      for (int j = 0; j < n_slots; ++j) {
        for (float& x : row) x = normal(random);
        const int type = static_cast<int>(shape.type);
        kernels.store_k[type](row.data(), shape.k_dim, kv.k_tile(j / 16), j % 16);
        if (!shape.v_in_k) kernels.store_v[type](row.data(), shape.v_dim, kv.v_tile(j / 16), j % 16);
      }
    }
  }

  void point_at_blocks() {
    blocks.clear();
    for (size_t at = 0; at + shape.block_bytes() <= bytes.size(); at += shape.block_bytes())
      blocks.push_back(bytes.data() + at);
  }

  KvView view(int head, int n_slots) const {
    const size_t offset = static_cast<size_t>(head) * shape.head_bytes();
    return {.blocks = blocks.data(),
            .k_offset = offset,
            .v_offset = offset + kBlockTiles * shape.k_tile_bytes(),
            .k_tile_bytes = shape.k_tile_bytes(),
            .v_tile_bytes = shape.v_tile_bytes(),
            .block_tokens = kBlockTokens,
            .len = n_slots,
            .k_dim = shape.k_dim,
            .v_dim = shape.v_dim,
            .k_type = shape.type,
            .v_type = shape.type,
            .v_in_k = shape.v_in_k};
  }
};

void attend_layer(benchmark::State& state, Isa isa, Shape shape, int n_tokens) {
  const int n_slots = static_cast<int>(state.range(0));
  std::vector<Layer> layers;
  layers.emplace_back(kernels::attention_kernels(isa), shape, n_slots);
  while (static_cast<int>(layers.size()) < shape.n_layers) {
    layers.push_back(layers.front());
    layers.back().point_at_blocks();
  }
  const int n_rows = n_tokens * shape.n_group;
  std::vector<float> q(static_cast<size_t>(n_rows) * shape.k_dim, 0.1F);
  std::vector<float> out(static_cast<size_t>(n_rows) * shape.v_dim);
  std::vector<float> scratch(attend_scratch_floats(n_rows, shape.k_dim, shape.v_dim, shape.v_in_k));
  const AttentionQueries queries{.q = q.data(),
                                 .q_stride = static_cast<ptrdiff_t>(shape.n_group) * shape.k_dim,
                                 .out = out.data(),
                                 .out_stride = static_cast<ptrdiff_t>(shape.n_group) * shape.v_dim,
                                 .n_tokens = n_tokens,
                                 .n_group = shape.n_group,
                                 .first_pos = n_slots - n_tokens};
  const AttentionParams params{.scale = 0.125F};
  size_t layer = 0;
  for (auto _ : state) {
    for (int head = 0; head < shape.n_kv_heads; ++head)
      attend(isa, layers[layer].view(head, n_slots), queries, params, scratch.data());
    benchmark::DoNotOptimize(out.data());
    layer = (layer + 1) % layers.size();
  }
  const double slots = static_cast<double>(state.iterations()) * n_slots;
  const double bytes = slots / kBlockTokens * static_cast<double>(shape.block_bytes());
  state.counters["KV"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate);
  const double products = slots * shape.n_kv_heads * n_rows * (shape.k_dim + shape.v_dim);
  state.counters["FLOP"] = benchmark::Counter(2 * products, benchmark::Counter::kIsRate);
}

void register_all() {
  for (const Isa isa : available_isas()) {
    if (isa == Isa::avx512vnni) continue;  // the same kernels as avx512
    for (int t = 0; t < kKvTypeCount; ++t) {
      const auto type = static_cast<KvType>(t);
      const auto add = [=](const char* what, const Shape& shape, int n_tokens) {
        const std::string name = std::string(what) + "/" + to_string(type) + "/" + to_string(isa);
        auto* const b = benchmark::RegisterBenchmark(name.c_str(), attend_layer, isa, shape, n_tokens);
        if (isa == Isa::reference)
          b->Arg(1024);
        else
          b->Arg(1024)->Arg(4096)->Arg(16384);
      };
      add("attend_decode", llama_1b(type), 1);
      add("attend_prefill_16", llama_1b(type), kQueryTokens);
      if (type != KvType::q4) add("attend_latent", latent(type), 1);
    }
  }
}

}  // namespace
}  // namespace decant::cache

int main(int argc, char** argv) {
  decant::cache::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
