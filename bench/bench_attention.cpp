// SPDX-License-Identifier: Apache-2.0

// Attention of one decoding step: bytes of K and V a second, by ISA and context. 8 kv heads of 4 query heads, head_dim
// 64, f16, blocks of 64, as in a layer of a 1B Llama. The blocks of 16 layers are walked in turn, so that no context is
// found in a cache it would not be in when a model runs.

#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include "cache/attention.h"

namespace decant::cache {
namespace {

constexpr int kKvHeads = 8, kGroup = 4, kDim = 64, kBlockTokens = 64, kLayers = 16;
constexpr size_t kRunBytes = size_t{kBlockTokens} * kDim * 2;  // K or V of a head's block
constexpr size_t kBlockBytes = 2 * kKvHeads * kRunBytes;

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
  HugeBytes bytes;
  std::vector<std::byte*> blocks;

  Layer(const kernels::AttentionKernels& kernels, int n_slots)
      : bytes(static_cast<size_t>((n_slots + kBlockTokens - 1) / kBlockTokens) * kBlockBytes) {
    for (size_t at = 0; at + kBlockBytes <= bytes.size(); at += kBlockBytes) blocks.push_back(bytes.data() + at);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(kDim);
    for (int head = 0; head < kKvHeads; ++head) {
      const KvView kv = view(head, n_slots);
      for (int j = 0; j < n_slots; ++j) {
        for (float& x : row) x = normal(random);
        kernels.store_k[static_cast<int>(kv.k_type)](row.data(), kDim, kv.k_tile(j / 16), j % 16);
        kernels.store_v[static_cast<int>(kv.v_type)](row.data(), kDim, kv.v_tile(j / 16), j % 16);
      }
    }
  }

  KvView view(int head, int n_slots) const {
    return {.blocks = blocks.data(),
            .k_offset = static_cast<size_t>(head) * 2 * kRunBytes,
            .v_offset = static_cast<size_t>(head) * 2 * kRunBytes + kRunBytes,
            .block_tokens = kBlockTokens,
            .len = n_slots,
            .first = 0,
            .k_dim = kDim,
            .v_dim = kDim};
  }
};

void attend_layer(benchmark::State& state, Isa isa, int n_tokens) {
  const kernels::AttentionKernels& kernels = kernels::attention_kernels(isa);
  const int n_slots = static_cast<int>(state.range(0));
  std::vector<Layer> layers;
  layers.emplace_back(kernels, n_slots);
  while (layers.size() < kLayers) {
    layers.push_back(layers.front());
    Layer& layer = layers.back();
    for (size_t i = 0; i < layer.blocks.size(); ++i) layer.blocks[i] = layer.bytes.data() + i * kBlockBytes;
  }
  const size_t row = size_t{kGroup} * kDim;
  std::vector<float> q(static_cast<size_t>(n_tokens) * row, 0.1F), out(q.size());
  std::vector<float> scratch(attend_scratch_floats(n_tokens * kGroup, kDim, kDim));
  const AttentionQueries queries{.q = q.data(),
                                 .q_stride = static_cast<ptrdiff_t>(row),
                                 .out = out.data(),
                                 .out_stride = static_cast<ptrdiff_t>(row),
                                 .n_tokens = n_tokens,
                                 .n_group = kGroup,
                                 .first_pos = n_slots - n_tokens};
  const AttentionParams params{.scale = 0.125F};
  size_t layer = 0;
  for (auto _ : state) {
    for (int head = 0; head < kKvHeads; ++head)
      attend(kernels, layers[layer].view(head, n_slots), queries, params, scratch.data());
    benchmark::DoNotOptimize(out.data());
    layer = (layer + 1) % kLayers;
  }
  const double bytes = static_cast<double>(state.iterations()) * kKvHeads * n_slots * kDim * 2 * 2;
  state.counters["KV"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate);
  const double products = static_cast<double>(state.iterations()) * kKvHeads * kGroup * n_tokens * n_slots * kDim * 2;
  state.counters["FLOP"] = benchmark::Counter(2 * products, benchmark::Counter::kIsRate);
}

void register_all() {
  for (const Isa isa : available_isas()) {
    if (isa == Isa::avx512vnni) continue;  // the same kernels as avx512
    const auto add = [isa](const char* what, int n_tokens) {
      const std::string name = std::string(what) + "/" + to_string(isa);
      auto* const b = benchmark::RegisterBenchmark(name.c_str(), attend_layer, isa, n_tokens);
      if (isa == Isa::reference)
        b->Arg(1024);
      else
        b->Arg(1024)->Arg(4096)->Arg(16384);
    };
    add("attend_decode", 1);
    add("attend_prefill_16", kQueryTokens);
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
