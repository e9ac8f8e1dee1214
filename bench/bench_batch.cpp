// SPDX-License-Identifier: Apache-2.0
// Several sequences at once: a line for each number of them.
#include <algorithm>
#include <vector>

#include "bench/model_bench.h"

using namespace decant;

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_batch", "Decodes several sequences at once.");
  profile::Task task;
  task.n_tokens = 16;
  std::vector<int> batches = {1, 2, 4, 8, 16};
  bench.option("--depth", task.depth, "Tokens in each sequence's cache when decoding begins");
  bench.option("-n", task.n_tokens, "Tokens to decode of each sequence in each round");
  bench.option("--batches", batches, "Numbers of sequences");
  return bench.run(argc, argv, [&]() -> Status {
    const int most = *std::max_element(batches.begin(), batches.end());
    return bench.measure(task, most, [&](Engine& engine, profile::ReadBandwidth& memory) -> Status {
      for (const int n : batches) {
        task.n_sequences = n;
        const Result<profile::Timings> timings = profile::measure_decode(engine, memory, task);
        if (!timings) return timings.error();
        bench::Json line = bench.line();
        line["depth"] = task.depth;
        line["n_sequences"] = n;
        bench::add_figures(line, profile::decode_figures(*timings, bench.weight_bytes(), n));
        bench::ModelBench::print(line);
      }
      return {};
    });
  });
}
