// SPDX-License-Identifier: Apache-2.0
// What profiling costs: decoding without an observer, with one that does nothing, and with one that keeps every step,
// in turn.
#include <array>

#include "bench/model_bench.h"
#include "engine/profile/recording.h"

int main(int argc, char** argv) {
  using namespace decant;
  bench::ModelBench bench("bench_profile", "Decodes with and without profiling, in turn.");
  profile::Task task;
  bench.option("--depth", task.depth, "Tokens in the cache when decoding begins");
  bench.option("-n", task.n_tokens, "Tokens to decode in each round");
  return bench.run(argc, argv, [&]() -> Status {
    if (Status opened = bench.open(); !opened) return opened;
    profile::Recording recording;
    const std::array<StepObserver, 3> observers = {StepObserver(), [](const StepProfile&) {},
                                                   [&](const StepProfile& step) { recording.add(step); }};
    std::array<std::unique_ptr<Engine>, 3> engines;
    for (size_t i = 0; i < observers.size(); ++i) {
      Result<std::unique_ptr<Engine>> made = bench.engine(task.depth + task.n_tokens + 1, 1, observers[i]);
      if (!made) return made.error();
      engines[i] = std::move(*made);
    }
    Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
    if (!memory) return memory.error();
    task.n_rounds = 1;
    // A round of each, one after the other, so that a drifting machine drifts under all of them; what a round's tokens
    // cost beside those of the round before it without an observer.
    std::array<std::vector<double>, 3> ms;
    std::array<std::vector<double>, 3> cost;
    for (int round = 0; round < bench.n_rounds(); ++round) {
      recording = profile::Recording(static_cast<size_t>(task.n_tokens) + 2, size_t{64} << 20);
      recording.begin_round(0);
      for (size_t i = 0; i < engines.size(); ++i) {
        const Result<profile::Timings> timings = profile::measure_decode(*engines[i], *memory, task);
        if (!timings) return timings.error();
        ms[i].push_back(profile::quantile(timings->seconds, 0.5) * 1e3);
        cost[i].push_back(ms[i].back() / ms[0].back() - 1.0);
      }
    }
    bench::Json line = bench.line();
    line["depth"] = task.depth;
    line["ms_off"] = profile::quantile(ms[0], 0.5);
    line["ms_observed"] = profile::quantile(ms[1], 0.5);
    line["ms_recorded"] = profile::quantile(ms[2], 0.5);
    line["cost_observed"] = profile::quantile(cost[1], 0.5);
    line["cost_recorded"] = profile::quantile(cost[2], 0.5);
    bench::ModelBench::print(line);
    return {};
  });
}
