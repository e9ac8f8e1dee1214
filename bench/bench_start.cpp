// SPDX-License-Identifier: Apache-2.0
// From the start of the program to the first token, and the memory it took: a new process for each figure.
#include <chrono>

#include <sys/resource.h>

#include "bench/model_bench.h"

using namespace decant;

int main(int argc, char** argv) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  bench::ModelBench bench("bench_start", "Opens a model, computes a short prompt and one token, and ends.");
  int n_prompt = 8;
  bench.option("--prompt-tokens", n_prompt, "Tokens of the prompt");
  return bench.run(argc, argv, [&]() -> Status {
    if (Status opened = bench.open(); !opened) return opened;
    bench::Json line = bench.line();
    line["load_seconds"] = seconds();
    const LoadTimes& times = bench.model()->load_times();
    line["weights_seconds"] = static_cast<double>(times.weights_ns) / 1e9;
    line["tokenizer_seconds"] = static_cast<double>(times.tokenizer_ns) / 1e9;
    Result<std::unique_ptr<Engine>> engine = bench.engine(n_prompt + 1);
    if (!engine) return engine.error();
    Request request;
    for (int i = 0; i < n_prompt; ++i) request.prompt.push_back((i + 1) % bench.model()->info().vocab_size);
    request.sampling.temperature = 0.0F;
    request.max_new_tokens = 1;
    if (Result<SequenceId> id = (*engine)->submit(std::move(request)); !id) return id.error();
    while ((*engine)->n_sequences() > 0)
      if (Result<StepReport> step = (*engine)->step(); !step) return step.error();
    line["first_token_seconds"] = seconds();
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    line["peak_resident_bytes"] = static_cast<int64_t>(usage.ru_maxrss) * 1024;
    line["file_bytes"] = bench.model()->info().file_bytes;
    line["packed_bytes"] = bench.model()->info().packed_bytes;
    bench::ModelBench::print(line);
    return {};
  });
}
