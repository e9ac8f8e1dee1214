// SPDX-License-Identifier: Apache-2.0
// One token after the other at a depth of context.
#include "bench/model_bench.h"

using namespace decant;

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_decode", "Decodes one sequence at a depth of context.");
  profile::Task task;
  bench.option("--depth", task.depth, "Tokens in the cache when decoding begins");
  bench.option("-n", task.n_tokens, "Tokens to decode in each round");
  return bench.run(argc, argv, [&]() -> Status {
    return bench.measure(task, 1, [&](Engine& engine, profile::ReadBandwidth& memory) -> Status {
      const Result<profile::Timings> timings = profile::measure_decode(engine, memory, task);
      if (!timings) return timings.error();
      bench::Json line = bench.line();
      line["depth"] = task.depth;
      bench::add_figures(line, profile::decode_figures(*timings, bench.weight_bytes()));
      bench::ModelBench::print(line);
      return {};
    });
  });
}
