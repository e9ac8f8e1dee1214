// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/measure.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/engine_impl.h"
#include "engine/profile/filled_sequence.h"
#include "engine/profile/token_bytes.h"

namespace decant::profile {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Some sequences of equal depth; gone with the object.
class Sequences {
 public:
  explicit Sequences(Engine& engine) : engine_(engine) {}
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;
  ~Sequences() {
    for (const SequenceId id : ids_) static_cast<void>(engine_.cancel(id));
  }

  Status add(int n, int depth) {
    depth_ = depth;
    for (int i = 0; i < n; ++i) {
      Result<SequenceId> id = add_filled_sequence(engine_, depth);
      if (!id) return id.error();
      ids_.push_back(*id);
      kv_bytes_ += kv_bytes_at(engine_, *id, depth);
    }
    return {};
  }

  Status extend(std::span<const int32_t> tokens, int max_new_tokens) {
    for (const SequenceId id : ids_)
      if (Status extended = engine_.extend(id, tokens, max_new_tokens); !extended) return extended;
    return {};
  }

  /// Steps until all have ended; appends what each took.
  Status run(const std::stop_token& stop, std::vector<double>& step_seconds) {
    for (;;) {
      const Clock::time_point start = Clock::now();
      const Result<StepReport> report = engine_.step(stop);
      if (!report) return report.error();
      if (report->idle) return {};
      step_seconds.push_back(seconds_since(start));
    }
  }

  /// As they were after add().
  Status rewind() {
    for (const SequenceId id : ids_)
      if (Status cut = engine_.truncate(id, depth_ + 1); !cut) return cut;
    return {};
  }

  size_t kv_bytes() const noexcept { return kv_bytes_; }

 private:
  Engine& engine_;
  std::vector<SequenceId> ids_;
  int depth_ = 0;
  size_t kv_bytes_ = 0;
};

/// Each round: memory, then the tokens. `first_tokens` are appended at once, `n_decoded` follow one by one.
Result<Timings> measure(Engine& engine, ReadBandwidth& memory, const Task& task,
                        const std::vector<int32_t>& first_tokens, int n_decoded) {
  Sequences sequences(engine);
  if (Status added = sequences.add(task.n_sequences, task.depth); !added) return added.error();
  std::vector<double> steps;  // seconds, of the last round
  const auto run_round = [&](int n) -> Status {
    steps.clear();
    if (Status extended = sequences.extend(first_tokens, n); !extended) return extended;
    if (Status ran = sequences.run(task.stop, steps); !ran) return ran;
    return sequences.rewind();
  };
  if (n_decoded > 0) {  // pages, caches and branch predictors
    constexpr int kWarmUp = 2;
    if (Status warm = run_round(std::min(kWarmUp, n_decoded)); !warm) return warm.error();
  }
  Timings timings;
  timings.kv_bytes = sequences.kv_bytes();
  for (int round = 0; round < task.n_rounds; ++round) {
    timings.bandwidth.push_back(memory.measure(*engine.impl().pool));
    if (Status ran = run_round(n_decoded); !ran) return ran.error();
    if (n_decoded > 0)
      timings.seconds.insert(timings.seconds.end(), steps.begin(), steps.end());
    else
      timings.seconds.push_back(std::accumulate(steps.begin(), steps.end(), 0.0));
  }
  return timings;
}

}  // namespace

Result<Timings> measure_decode(Engine& engine, ReadBandwidth& memory, const Task& task) {
  return measure(engine, memory, task, {}, task.n_tokens);
}

// A filled sequence ends with a token that is still to be computed: one less is added.
Result<Timings> measure_prefill(Engine& engine, ReadBandwidth& memory, const Task& task) {
  std::vector<int32_t> tokens;
  const int vocab_size = engine.model().info().vocab_size;
  for (int i = 1; i < task.n_tokens; ++i) tokens.push_back(static_cast<int32_t>(int64_t{i} * 104729 % vocab_size));
  return measure(engine, memory, task, tokens, 0);
}

DecodeFigures decode_figures(const Timings& timings, size_t weight_bytes, int n_sequences) {
  const auto ms = [&](double q) { return quantile(timings.seconds, q) * 1e3; };
  DecodeFigures f;
  f.ms_p50 = ms(0.5);
  f.ms_p90 = ms(0.9);
  f.ms_p99 = ms(0.99);
  f.tokens_per_s = n_sequences * 1e3 / f.ms_p50;
  f.bytes = weight_bytes + timings.kv_bytes;
  f.gb_per_s = static_cast<double>(f.bytes) / f.ms_p50 / 1e6;
  f.bandwidth_gb_per_s = quantile(timings.bandwidth, 0.5) / 1e9;
  f.bandwidth_share = f.gb_per_s / f.bandwidth_gb_per_s;
  return f;
}

}  // namespace decant::profile
