// SPDX-License-Identifier: Apache-2.0
// Decode and prefill of a model, one line of JSON. Rounds of decoding alternate with measurements of the machine's read
// bandwidth, since machines drift; figures are medians.
//
//   bench_decode MODEL [threads] [depth] [tokens] [rounds] [isa]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "decant/decant.hpp"

#include "bench/read_bandwidth.h"

namespace {

using namespace decant;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int fail(const Error& error) {
  std::fprintf(stderr, "bench_decode: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_decode MODEL [threads] [depth] [tokens] [rounds] [isa]\n");
    return 2;
  }
  const auto number = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  const int n_threads = number(2, 1), depth = number(3, 16), n_tokens = number(4, 64), rounds = number(5, 5);

  const auto load_start = std::chrono::steady_clock::now();
  Result<std::shared_ptr<const Model>> model = Model::open(argv[1]);
  if (!model) return fail(model.error());
  const double load_s = seconds_since(load_start);
  EngineOptions options;
  options.cache.prefix_bytes = 0;  // every round computes its prompt
  options.n_threads = n_threads;
  options.max_sequences = 1;
  if (argc > 6) options.isa = argv[6];
  Result<std::unique_ptr<Engine>> engine = Engine::create(*model, options);
  if (!engine) return fail(engine.error());

  const bench::ReadBandwidth memory(n_threads);
  std::vector<double> prefill_tokens_per_s, token_ms, bandwidth;
  for (int round = 0; round < rounds; ++round) {
    bandwidth.push_back(memory.measure());
    Request request;
    for (int i = 0; i < depth; ++i) request.prompt.push_back(i % (*model)->info().vocab_size);
    request.sampling.temperature = 0.0F;
    request.max_new_tokens = n_tokens;
    request.ignore_end = true;
    if (Result<SequenceId> id = (*engine)->submit(std::move(request)); !id) return fail(id.error());
    const auto prefill_start = std::chrono::steady_clock::now();
    bool decoding = false;
    while ((*engine)->n_sequences() > 0) {
      const auto start = std::chrono::steady_clock::now();
      Result<StepReport> report = (*engine)->step();
      if (!report) return fail(report.error());
      if (decoding) token_ms.push_back(seconds_since(start) * 1e3);
      if (!decoding && !report->tokens.empty()) {
        prefill_tokens_per_s.push_back(depth / seconds_since(prefill_start));
        decoding = true;
      }
    }
  }

  // What a token must read: every weight but the embedding's other rows (a tied one is the head), and K and V.
  const ModelInfo& info = (*model)->info();
  const double kv_bytes = 2.0 * info.n_layers * info.n_kv_heads * info.head_dim * 2 * (depth + n_tokens / 2.0);
  const double embedding = info.tied_head ? 0.0
                                          : static_cast<double>(info.file_bytes) * info.vocab_size * info.d_model /
                                                static_cast<double>(info.n_params);
  const double bytes = static_cast<double>(info.file_bytes) - embedding + kv_bytes;
  const double ms = bench::median(token_ms), gb_per_s = bytes / ms / 1e6, measured = bench::median(bandwidth) / 1e9;
  std::printf(
      "{\"model\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"depth\":%d,\"load_s\":%.3f,\"prefill_tokens_per_s\":%.1f,"
      "\"ms_per_token\":%.4f,\"tokens_per_s\":%.1f,\"mbytes_per_token\":%.1f,\"gb_per_s\":%.2f,"
      "\"read_bandwidth_gb_per_s\":%.2f,\"bandwidth_share\":%.3f}\n",
      argv[1], (*engine)->isa(), n_threads, depth, load_s, bench::median(prefill_tokens_per_s), ms, 1e3 / ms,
      bytes / 1e6, gb_per_s, measured, gb_per_s / measured);
  return 0;
}
