// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/measure.h"

#include <algorithm>
#include <chrono>

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

  /// A prompt that is computed from its beginning, and one token more.
  Status submit(const std::vector<int32_t>& ids) {
    Request request;
    request.prompt = ids;
    request.sampling.temperature = 0.0F;
    request.max_new_tokens = 1;
    request.keep = true;
    Result<SequenceId> id = engine_.submit(std::move(request));
    if (!id) return id.error();
    ids_.push_back(*id);
    return {};
  }

  Status extend(std::span<const int32_t> tokens, int max_new_tokens) {
    for (const SequenceId id : ids_)
      if (Status extended = engine_.extend(id, tokens, max_new_tokens); !extended) return extended;
    return {};
  }

  /// Steps until all have ended; appends what each took.
  Status run(const Task& task, std::vector<double>& step_seconds) {
    for (;;) {
      const Clock::time_point start = Clock::now();
      const Result<StepReport> report = engine_.step(task.stop);
      if (!report) return report.error();
      if (report->idle) return {};
      if (task.consume) task.consume(*report);
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

/// The prompt's ids from `first` on.
std::vector<int32_t> prompt_ids(const Engine& engine, const Task& task, int first) {
  if (!task.prompt.empty()) return {task.prompt.begin() + first, task.prompt.end()};
  std::vector<int32_t> ids;
  const int vocab_size = engine.model().info().vocab_size;
  for (int i = first; i < task.n_tokens; ++i) ids.push_back(static_cast<int32_t>(int64_t{i} * 104729 % vocab_size));
  return ids;
}

}  // namespace

Result<Timings> measure_decode(Engine& engine, ReadBandwidth& memory, const Task& task) {
  Sequences sequences(engine);
  if (Status added = sequences.add(task.n_sequences, task.depth); !added) return added.error();
  Timings timings;
  timings.kv_bytes = sequences.kv_bytes();
  // Something that stays in the cache, where there is room: otherwise a round would begin with taking its memory anew.
  Sequences keeper(engine);
  if (task.n_sequences < engine.impl().options.max_sequences)
    if (Status added = keeper.add(1, 1); !added) return added.error();
  const auto run_round = [&](int n, std::vector<double>& seconds) -> Status {
    if (Status extended = sequences.extend({}, n); !extended) return extended;
    if (Status ran = sequences.run(task, seconds); !ran) return ran;
    return sequences.rewind();
  };
  std::vector<double> ignored;
  constexpr int kWarmUp = 2;  // pages, caches and branch predictors
  for (int round = 0; round < task.n_rounds; ++round) {
    timings.bandwidth.push_back(memory.measure(*engine.impl().pool));
    if (Status warm = run_round(std::min(kWarmUp, task.n_tokens), ignored); !warm) return warm.error();
    if (task.begin_round) task.begin_round(round);
    if (Status ran = run_round(task.n_tokens, timings.seconds); !ran) return ran.error();
    if (task.end_round) task.end_round();
  }
  return timings;
}

// A filled sequence ends with a token that is still to be computed: the prompt's first.
Result<Timings> measure_prefill(Engine& engine, ReadBandwidth& memory, const Task& task) {
  Timings timings;
  for (int round = 0; round < task.n_rounds; ++round) {
    timings.bandwidth.push_back(memory.measure(*engine.impl().pool));
    Sequences sequences(engine);
    if (task.depth > 0)
      if (Status added = sequences.add(1, task.depth); !added) return added.error();
    timings.kv_bytes = sequences.kv_bytes();
    const std::vector<int32_t> ids = prompt_ids(engine, task, task.depth > 0 ? 1 : 0);
    if (task.begin_round) task.begin_round(round);
    const Clock::time_point start = Clock::now();
    const Status begun = task.depth > 0 ? sequences.extend(ids, 1) : sequences.submit(ids);
    if (!begun) return begun.error();
    std::vector<double> steps;
    if (Status ran = sequences.run(task, steps); !ran) return ran.error();
    timings.seconds.push_back(seconds_since(start));
    if (task.end_round) task.end_round();
  }
  return timings;
}

DecodeFigures decode_figures(const Timings& timings, size_t weight_bytes, int n_sequences) {
  const auto ms = [&](double q) { return quantile(timings.seconds, q) * 1e3; };
  DecodeFigures f;
  f.ms_p50 = ms(0.5);
  f.ms_p90 = ms(0.9);
  f.ms_p99 = ms(0.99);
  f.ms_p999 = ms(0.999);
  f.ms_max = ms(1.0);
  const auto ratio = [](double a, double b) { return b > 0.0 ? a / b : 0.0; };
  f.tokens_per_s = ratio(n_sequences * 1e3, f.ms_p50);
  f.bytes = weight_bytes + timings.kv_bytes;
  f.gb_per_s = ratio(static_cast<double>(f.bytes), f.ms_p50) / 1e6;
  f.bandwidth_gb_per_s = quantile(timings.bandwidth, 0.5) / 1e9;
  f.bandwidth_share = ratio(f.gb_per_s, f.bandwidth_gb_per_s);
  return f;
}

}  // namespace decant::profile
