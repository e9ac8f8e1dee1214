// SPDX-License-Identifier: Apache-2.0
// What profiling costs: a token without an observer, one with an observer that does nothing, and one that is kept as
// `decant profile` keeps it, in turn.
#include <array>
#include <chrono>

#include "bench/model_bench.h"
#include "engine/profile/filled_sequence.h"
#include "engine/profile/recording.h"

namespace {

using namespace decant;

constexpr size_t kWays = 3;  ///< off, observed, recorded

/// An engine that decodes one sequence.
struct Decoder {
  std::unique_ptr<Engine> engine;
  SequenceId sequence = 0;

  static Result<Decoder> make(Result<std::unique_ptr<Engine>> engine, int depth, int n_tokens) {
    if (!engine) return engine.error();
    const Result<SequenceId> id = profile::add_filled_sequence(**engine, depth);
    if (!id) return id.error();
    if (Status extended = (*engine)->extend(*id, {}, n_tokens); !extended) return extended.error();
    return Decoder{std::move(*engine), *id};
  }

  /// Milliseconds of the next token.
  Result<double> token() const {
    const auto start = std::chrono::steady_clock::now();
    if (const Result<StepReport> report = engine->step(); !report) return report.error();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
};

}  // namespace

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_profile", "Decodes with and without profiling, in turn token by token.");
  int depth = 0, n_tokens = 64;
  bench.option("--depth", depth, "Tokens in the cache when decoding begins");
  bench.option("-n", n_tokens, "Tokens to decode in each round");
  return bench.run(argc, argv, [&]() -> Status {
    if (Status opened = bench.open(); !opened) return opened;
    profile::Recording recording;
    const std::array<StepObserver, kWays> observers = {StepObserver(), [](const StepProfile&) {},
                                                       [&](const StepProfile& step) { recording.add(step); }};
    std::array<std::vector<double>, kWays> ms, cost;
    // Engines of their own each round, made in turn too, since it matters where memory happens to lie.
    for (int round = 0; round < bench.n_rounds(); ++round) {
      recording = profile::Recording(static_cast<size_t>(n_tokens), size_t{64} << 20);
      std::array<Decoder, kWays> decoders;
      for (size_t i = 0; i < kWays; ++i) {
        const size_t which = (i + static_cast<size_t>(round)) % kWays;
        Result<Decoder> made =
            Decoder::make(bench.engine(depth + n_tokens + 3, 1, observers[which]), depth, n_tokens + 2);
        if (!made) return made.error();
        decoders[which] = std::move(*made);
      }
      for (int token = -2; token < n_tokens; ++token) {  // two that warm up
        if (token == 0) recording.begin_round(round);
        std::array<double, kWays> took = {};
        for (size_t i = 0; i < kWays; ++i) {
          const size_t which = (i + static_cast<size_t>(token + 2)) % kWays;
          const Result<double> one = decoders[which].token();
          if (!one) return one.error();
          took[which] = *one;
        }
        for (size_t i = 0; token >= 0 && i < kWays; ++i) {
          ms[i].push_back(took[i]);
          cost[i].push_back(took[i] / took[0] - 1.0);
        }
      }
    }
    bench::Json line = bench.line();
    line["depth"] = depth;
    line["ms_off"] = profile::quantile(ms[0], 0.5);
    line["ms_observed"] = profile::quantile(ms[1], 0.5);
    line["ms_recorded"] = profile::quantile(ms[2], 0.5);
    line["cost_observed"] = profile::quantile(cost[1], 0.5);
    line["cost_recorded"] = profile::quantile(cost[2], 0.5);
    bench::ModelBench::print(line);
    return {};
  });
}
