// SPDX-License-Identifier: Apache-2.0

// Attention of whole steps over a long context, as an engine runs it: all layers in turn, so that no layer's K and V
// are found in a cache, through the pool of threads. One token (bytes of K and V a second, beside the machine's read
// bandwidth in alternation), or a chunk of a prompt (operations a second). One line of JSON; "best" is the 10th
// percentile of layers.
//
//   bench_context [1b|135m] [type] [threads] [depth] [tokens] [rounds] [isa] [block_tokens]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string_view>
#include <vector>

#include "decant/cache.h"

#include "engine/attention.h"
#include "engine/profile/read_bandwidth.h"
#include "engine/thread_pool.h"

namespace {

using namespace decant;

struct Model {
  int n_layers, n_heads, n_kv_heads, head_dim;
};

int fail(std::string_view message) {
  std::fprintf(stderr, "bench_context: %.*s\n", static_cast<int>(message.size()), message.data());
  return 1;
}

/// A sequence of `depth` slots of noise.
Result<cache::SequenceIndex> fill(cache::KvCache& cache, const Model& model, int depth) {
  Result<cache::SequenceIndex> sequence = cache.add_sequence();
  if (!sequence) return sequence.error();
  const cache::KvGrowth growth{*sequence, depth};
  Result<cache::KvReservation> slots = cache.reserve({&growth, 1});
  if (!slots) return slots.error();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const size_t width = static_cast<size_t>(model.n_kv_heads) * static_cast<size_t>(model.head_dim);
  std::vector<float> noise(width + 4096);
  for (float& x : noise) x = normal(random);
  for (int pos = 0; pos < depth; ++pos)
    for (int layer = 0; layer < model.n_layers; ++layer)
      if (!cache.write(*sequence, layer, pos, noise.data() + random() % 4096, noise.data() + random() % 4096))
        return Error{ErrorCode::internal, "a slot can't be written"};
  slots->commit();
  return sequence;
}

/// Seconds of the clock on the wall; where only this thread works, of its own clock, which stops while neighbours run.
double now(int n_threads) {
  timespec time{};
  clock_gettime(n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  const auto text = [&](int i, const char* otherwise) { return std::string_view(argc > i ? argv[i] : otherwise); };
  const auto number = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  const Model model = text(1, "1b") == "135m" ? Model{30, 9, 3, 64} : Model{16, 32, 8, 64};
  const std::optional<KvType> type = parse_kv_type(text(2, "f16"));
  const int n_threads = number(3, 1), depth = number(4, 16384), n_tokens = number(5, 1), rounds = number(6, 7);
  const Result<Isa> isa = resolve_isa(text(7, "auto"));
  if (!type || n_threads < 1 || n_tokens < 1 || depth < n_tokens) return fail("no such type, or a number out of range");
  if (!isa) return fail(isa.error().message);
  CacheOptions options;
  options.k_type = options.v_type = *type;
  options.block_tokens = number(8, options.block_tokens);

  const std::vector<cache::KvLayerShape> layers(
      static_cast<size_t>(model.n_layers),
      {.n_kv_heads = model.n_kv_heads, .k_dim = model.head_dim, .v_dim = model.head_dim});
  Result<std::unique_ptr<cache::KvCache>> cache = cache::KvCache::create(layers, options, 1, depth, *isa);
  if (!cache) return fail(cache.error().message);
  const Result<cache::SequenceIndex> sequence = fill(**cache, model, depth);
  if (!sequence) return fail(sequence.error().message);
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(n_threads);
  if (!pool) return fail(pool.error().message);

  Attention attention({.n_heads = model.n_heads,
                       .max_step_tokens = n_tokens,
                       .max_sequences = 1,
                       .n_ctx = depth,
                       .min_kv_heads = model.n_kv_heads,
                       .max_kv_heads = model.n_kv_heads,
                       .k_dim = model.head_dim,
                       .v_dim = model.head_dim},
                      *isa, n_threads);
  StepPlan plan;
  plan.entries.push_back({.sequence = *sequence, .first_pos = depth - n_tokens, .n_tokens = n_tokens});
  plan.token_ids.resize(static_cast<size_t>(n_tokens));
  const ptrdiff_t stride = ptrdiff_t{model.n_heads} * model.head_dim;
  std::vector<float> q(static_cast<size_t>(n_tokens * stride)), out(q.size());
  for (size_t i = 0; i < q.size(); ++i) q[i] = 0.01F * static_cast<float>(i % 199) - 1.0F;

  Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
  if (!memory) return fail(memory.error().message);
  std::vector<double> seconds, bandwidth;
  const int n_layers = n_tokens == 1 ? model.n_layers : 1;  // arithmetic decides on the speed of a prompt
  for (int round = 0; round < rounds; ++round) {
    if (n_tokens == 1) bandwidth.push_back(memory->measure(**pool));
    for (int layer = 0; layer < n_layers; ++layer) {
      const double start = now(n_threads);
      attention.run(**pool, **cache, plan, layer, model.n_kv_heads, {.scale = 0.125F}, q.data(), stride, out.data(),
                    stride);
      seconds.push_back(now(n_threads) - start);
    }
  }

  const double slots = n_tokens * (depth - 0.5 * (n_tokens - 1));  // that queries attend to
  const double bytes = static_cast<double>((*cache)->bytes_needed(depth)) / model.n_layers;
  const double operations = 4.0 * slots * static_cast<double>(stride);
  std::sort(seconds.begin(), seconds.end());
  const double typical = profile::quantile(seconds, 0.5), best = seconds[seconds.size() / 10];
  std::printf("{\"type\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"depth\":%d,\"tokens\":%d,\"block_tokens\":%d,",
              to_string(*type), to_string(*isa), n_threads, depth, n_tokens, options.block_tokens);
  std::printf("\"layer_ms\":%.3f,\"best_layer_ms\":%.3f,\"gflop_per_s\":%.1f,\"best_gflop_per_s\":%.1f", typical * 1e3,
              best * 1e3, operations / typical / 1e9, operations / best / 1e9);
  if (n_tokens == 1)
    std::printf(",\"gb_per_s\":%.2f,\"best_gb_per_s\":%.2f,\"read_gb_per_s\":%.2f,\"best_read_gb_per_s\":%.2f",
                bytes / typical / 1e9, bytes / best / 1e9, profile::quantile(bandwidth, 0.5) / 1e9,
                *std::max_element(bandwidth.begin(), bandwidth.end()) / 1e9);
  std::printf("}\n");
  return 0;
}
