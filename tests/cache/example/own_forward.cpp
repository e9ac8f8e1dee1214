// SPDX-License-Identifier: Apache-2.0
// A forward pass of one's own over decant's cache and attention, without decant's engine: one layer of two query heads
// that share a kv head, random weights, token after token. Attention is the step out = softmax(q K≤iᵀ / √d) V≤i.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include <decant/attention.h>
#include <decant/cache.h>

namespace kv = decant::cache;
constexpr int kDim = 32, kHeads = 2, kSteps = 300;

int main() {
  const decant::Isa isa = decant::available_isas().back();
  const std::vector<kv::KvLayerShape> layers = {{.n_kv_heads = 1, .k_dim = kDim, .v_dim = kDim}};
  decant::CacheOptions options;
  options.k_type = options.v_type = decant::KvType::f32;
  auto cache = kv::KvCache::create(layers, options, /*max_sequences=*/1, /*max_tokens=*/kSteps, isa);
  if (!cache) return std::puts(cache.error().message.c_str()), 1;
  const kv::SequenceIndex sequence = *(*cache)->add_sequence();

  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 0.3F);
  std::vector<float> w(static_cast<size_t>(kDim) * kDim * (kHeads + 2));  // W_q of each head, W_k, W_v
  for (float& x : w) x = normal(random);
  std::vector<float> h(kDim, 1.0F), qkv(kDim * (kHeads + 2)), out(kDim * kHeads);
  std::vector<float> scratch(kv::attend_scratch_floats(kHeads, kDim, kDim));
  std::vector<std::vector<float>> keys, values;  // kept plainly too, to compare with
  double worst = 0;
  for (int pos = 0; pos < kSteps; ++pos) {
    for (size_t row = 0; row < qkv.size(); ++row) {
      qkv[row] = 0;
      for (size_t i = 0; i < kDim; ++i) qkv[row] += w[row * kDim + i] * h[i];
    }
    const float *q = qkv.data(), *k = q + kDim * kHeads, *v = k + kDim;
    const kv::KvGrowth growth{sequence, 1};
    auto slot = (*cache)->reserve({&growth, 1});  // given back unless committed
    if (!slot || !(*cache)->write(sequence, /*layer=*/0, pos, k, v)) return std::puts("no room, or not finite"), 1;
    const kv::AttentionQueries queries{.q = q,
                                       .q_stride = kDim * kHeads,
                                       .out = out.data(),
                                       .out_stride = kDim * kHeads,
                                       .n_tokens = 1,
                                       .n_group = kHeads,
                                       .first_pos = pos};
    kv::attend(isa, (*cache)->view(sequence, 0, 0), queries, {.scale = 1 / std::sqrt(float{kDim})}, scratch.data());
    slot->commit();

    keys.emplace_back(k, k + kDim), values.emplace_back(v, v + kDim);
    double sum = 0, plain = 0;  // head 0, channel 0, in double
    for (size_t j = 0; j < keys.size(); ++j) {
      double s = 0;
      for (size_t i = 0; i < kDim; ++i) s += static_cast<double>(q[i]) * keys[j][i] / std::sqrt(double{kDim});
      sum += std::exp(s), plain += std::exp(s) * values[j][0];
    }
    worst = std::fmax(worst, std::fabs(out[0] - plain / sum));
    for (size_t i = 0; i < kDim; ++i) h[i] = std::tanh(out[i] + out[kDim + i] + normal(random));  // the rest of a model
  }
  std::printf("%d tokens, at most %.1e from attention in double\n", kSteps, worst);
  return worst < 1e-5 ? 0 : 1;
}
