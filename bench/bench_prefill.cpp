// SPDX-License-Identifier: Apache-2.0
// A prompt at a depth of context: 512 tokens from 0 on, or 12,288 from 4,096 on.
#include "bench/model_bench.h"

using namespace decant;

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_prefill", "Computes a prompt at a depth of context.");
  profile::Task task;
  task.n_tokens = 512;
  bench.option("--depth", task.depth, "Tokens in the cache before the prompt");
  bench.option("-n", task.n_tokens, "Tokens of the prompt");
  return bench.run(argc, argv, [&]() -> Status {
    return bench.measure(task, 1, [&](Engine& engine, profile::ReadBandwidth& memory) -> Status {
      const Result<profile::Timings> timings = profile::measure_prefill(engine, memory, task);
      if (!timings) return timings.error();
      const double seconds = profile::quantile(timings->seconds, 0.5);
      bench::Json line = bench.line();
      line["depth"] = task.depth;
      line["n_tokens"] = task.n_tokens;
      line["seconds"] = seconds;
      line["tokens_per_s"] = task.n_tokens / seconds;
      line["bandwidth_gb_per_s"] = profile::quantile(timings->bandwidth, 0.5) / 1e9;
      bench::ModelBench::print(line);
      return {};
    });
  });
}
