// SPDX-License-Identifier: Apache-2.0
// A stream that is running while another's prompt is computed, in turn with either alone.
#include <chrono>
#include <random>
#include <vector>

#include "bench/model_bench.h"

namespace {

using namespace decant;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Request request_of(int n_prompt, int max_new_tokens, int vocab_size, std::mt19937& random) {
  Request request;
  for (int i = 0; i < n_prompt; ++i)
    request.prompt.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size)));
  request.max_new_tokens = max_new_tokens;
  request.ignore_end = true;
  request.share_prefix = false;
  request.sampling.temperature = 0.0F;
  return request;
}

}  // namespace

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_beside", "Decodes one text while another's prompt is computed.");
  int n_prompt = 4096, n_tokens = 60;
  bench.option("--prompt", n_prompt, "Tokens of the other's prompt");
  bench.option("-n", n_tokens, "Tokens to decode alone in each round");
  return bench.run(argc, argv, [&]() -> Status {
    if (Status opened = bench.open(); !opened) return opened;
    // While the prompt takes its time the stream goes on: room for a token each 16 of the prompt.
    Result<std::unique_ptr<Engine>> made = bench.engine(n_prompt + 64 + n_prompt / 16 + n_tokens, 2);
    if (!made) return made.error();
    Engine& engine = **made;
    const int vocab_size = bench.model()->info().vocab_size;
    std::mt19937 random(1);
    std::vector<double> alone, beside, prefill_alone, prefill_beside;
    const auto prompt_seconds = [&](std::vector<double>* itl, SequenceId stream) -> Result<double> {
      const Clock::time_point start = Clock::now();
      Clock::time_point last = start;
      Result<SequenceId> prompt = engine.submit(request_of(n_prompt, 1, vocab_size, random));
      if (!prompt) return prompt.error();
      for (;;) {
        const Result<StepReport> report = engine.step();
        if (!report) return report.error();
        for (const Piece& piece : report->pieces) {
          if (piece.sequence == *prompt) return seconds_since(start);
          if (piece.sequence != stream || itl == nullptr) continue;
          itl->push_back(seconds_since(last));
          last = Clock::now();
        }
      }
    };
    for (int round = 0; round < bench.n_rounds(); ++round) {
      Result<double> seconds = prompt_seconds(nullptr, 0);
      if (!seconds) return seconds.error();
      prefill_alone.push_back(n_prompt / *seconds);
      Result<SequenceId> stream = engine.submit(request_of(16, n_tokens + n_prompt, vocab_size, random));
      if (!stream) return stream.error();
      Clock::time_point last = Clock::now();
      for (int i = 0; i <= n_tokens; ++i) {
        const Result<StepReport> report = engine.step();
        if (!report) return report.error();
        if (i > 0) alone.push_back(seconds_since(last));
        last = Clock::now();
      }
      seconds = prompt_seconds(&beside, *stream);
      if (!seconds) return seconds.error();
      prefill_beside.push_back(n_prompt / *seconds);
      if (Status cancelled = engine.cancel(*stream); !cancelled) return cancelled;
    }
    const double chunk_ms = EngineOptions().step_target_ms;
    bench::Json line = bench.line();
    const double p95_alone = profile::quantile(alone, 0.95) * 1e3, p95_beside = profile::quantile(beside, 0.95) * 1e3;
    line["n_prompt"] = n_prompt;
    line["step_target_ms"] = chunk_ms;
    line["p95_ms_alone"] = p95_alone;
    line["p95_ms_beside"] = p95_beside;
    line["worst_ms_beside"] = profile::quantile(beside, 1.0) * 1e3;
    line["p95_bound_ms"] = 1.3 * p95_alone + chunk_ms;
    line["prefill_tokens_per_s_alone"] = profile::quantile(prefill_alone, 0.5);
    line["prefill_tokens_per_s_beside"] = profile::quantile(prefill_beside, 0.5);
    line["prefill_share_kept"] = profile::quantile(prefill_beside, 0.5) / profile::quantile(prefill_alone, 0.5);
    bench::ModelBench::print(line);
    return {};
  });
}
