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
    Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
    if (!memory) return memory.error();
    task.n_rounds = 1;
    task.begin_round = [&](int round) { recording.begin_round(round); };
    // A round of each, in turn, so that a drifting machine drifts under all of them; by engines of their own each time,
    // since it matters where memory happens to lie. What counts is a round beside the one without an observer.
    std::array<std::vector<double>, 3> ms, cost;
    for (int round = 0; round < bench.n_rounds(); ++round) {
      recording = profile::Recording(static_cast<size_t>(task.n_tokens), size_t{64} << 20);
      for (size_t i = 0; i < observers.size(); ++i) {
        const size_t which = (i + static_cast<size_t>(round)) % observers.size();
        Result<std::unique_ptr<Engine>> engine = bench.engine(task.depth + task.n_tokens + 1, 1, observers[which]);
        if (!engine) return engine.error();
        const Result<profile::Timings> timings = profile::measure_decode(**engine, *memory, task);
        if (!timings) return timings.error();
        ms[which].push_back(profile::quantile(timings->seconds, 0.5) * 1e3);
      }
      for (size_t i = 0; i < observers.size(); ++i) cost[i].push_back(ms[i].back() / ms[0].back() - 1.0);
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
