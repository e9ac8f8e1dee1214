// SPDX-License-Identifier: Apache-2.0
#include "engine/step_recorder.h"

#include <algorithm>

namespace decant {
namespace {

constexpr int kOpsOfLayer = 8, kOpsOfStep = kOps - kOpsOfLayer;
/// Jobs that a step runs on several threads: operations, attention's merging, and one for each prompt in some of them.
int jobs_of_step(int n_layers, int max_sequences) { return (n_layers + 2) * (kOpsOfLayer + 2 + max_sequences); }
/// What else an operation reads than the same weights each time.
constexpr bool depends_on_step(Op op) { return op == Op::embed || op == Op::attention; }
/// Beyond this many prompts in one step laps of its beginning may be forgotten.
constexpr int kMostPrompts = 16;

}  // namespace

size_t kv_bytes_of_token(const cache::KvCache& cache, cache::SequenceIndex sequence, const model::LayerConfig& config,
                         int layer) {
  const cache::KvView view = cache.view(sequence, layer, 0);
  return (view.k_tile_bytes + view.v_tile_bytes) / cache::kTileTokens * static_cast<size_t>(config.n_kv_heads);
}

int tokens_before(const model::LayerConfig& config, int first_pos, int first_slot) {
  const int from = config.window > 0 ? std::max(first_slot, first_pos + 1 - config.window) : first_slot;
  return std::max(first_pos - std::max(from, 0), 0);
}

StepRecorder::StepRecorder(StepObserver observer, const Model::Parts& model, ThreadPool& pool, int max_sequences)
    : observer_(std::move(observer)), model_(model), pool_(pool) {
  const auto n_layers = static_cast<int>(model.config.layers.size());
  // Twice, so that a thread that is late to note a lap of one step doesn't write over one of the next.
  pool.log_laps(2 * jobs_of_step(n_layers, std::min(max_sequences, kMostPrompts)));
  const auto n_ops = static_cast<size_t>(n_layers * kOpsOfLayer + kOpsOfStep);
  marks_.resize(n_ops + 1);
  ops_.reserve(n_ops);
  const auto n_threads = static_cast<size_t>(pool.n_threads());
  laps_.reserve(n_threads * std::max<size_t>(pool.laps()->n_slots(), n_ops));
  threads_.resize(n_threads);
  tokens_.reserve(static_cast<size_t>(max_sequences));
  kv_bytes_.reserve(model.config.layers.size());
  events_ = events();
}

StepRecorder::Moment StepRecorder::now() noexcept {
  // Taken again where something came between the clocks.
  constexpr uint64_t kNear = 1000;
  Moment moment;
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = ticks();
    moment.ns = steady_ns();
    const uint64_t after = ticks();
    moment.ticks = before + (after - before) / 2;
    if (after - before < kNear) break;
  }
  return moment;
}

// Of all threads; those of the others as of the last head.
ThreadEvents StepRecorder::events() const noexcept {
  ThreadEvents all = ThreadEvents::now();
  for (int thread = 1; thread < pool_.n_threads(); ++thread) all += pool_.laps()->events(thread);
  return all;
}

void StepRecorder::begin_step() noexcept {
  tokens_.clear();
  n_marks_ = 0;
  begin_ = now();
  add_mark(begin_.ticks, Op::schedule, -1);
}

size_t StepRecorder::bytes(Op op, int layer, const StepPlan& plan) const {
  if (op == Op::embed) return model_.weight_bytes.of(op, layer) * static_cast<size_t>(plan.n_tokens());
  if (op != Op::attention) return model_.weight_bytes.of(op, layer);
  const model::LayerConfig& config = model_.config.layers[static_cast<size_t>(layer)];
  size_t n = 0;
  for (const PlanEntry& entry : plan.entries)
    n += static_cast<size_t>(tokens_before(config, entry.first_pos, entry.first_slot));
  return n * kv_bytes_[static_cast<size_t>(layer)];
}

void StepRecorder::note_plan(const StepPlan& plan, const cache::KvCache& cache) {
  for (size_t layer = kv_bytes_.size(); layer < model_.config.layers.size(); ++layer)
    kv_bytes_.push_back(
        kv_bytes_of_token(cache, plan.entries.front().sequence, model_.config.layers[layer], static_cast<int>(layer)));
}

void StepRecorder::finish(const StepPlan& plan) {
  const Moment end = now();
  add_mark(end.ticks, Op::commit, -1);
  --n_marks_;  // the last one only ends the one before
  const double ns_per_tick =
      static_cast<double>(end.ns - begin_.ns) / static_cast<double>(std::max<uint64_t>(end.ticks - begin_.ticks, 1));
  const auto ns_at = [&](uint64_t at) {
    return static_cast<int64_t>(static_cast<double>(at - begin_.ticks) * ns_per_tick);
  };
  // Most steps go through the operations of the one before: what doesn't depend on the step stays, since asking for it
  // anew would bring memory into the cache that a token has just pushed out.
  ops_.resize(n_marks_);
  for (size_t i = 0; i < n_marks_; ++i) {
    const Mark &mark = marks_[i], &next = marks_[i + 1];
    OpProfile& op = ops_[i];
    if (op.op != mark.op || op.layer != mark.layer || depends_on_step(mark.op)) {
      op.op = mark.op;
      op.layer = mark.layer;
      op.bytes = bytes(mark.op, mark.layer, plan);
    }
    op.begin_ns = ns_at(mark.at);
    op.end_ns = ns_at(next.at);
    op.wait_ns = static_cast<int64_t>(static_cast<double>(next.own.waited - mark.own.waited) * ns_per_tick);
  }
  laps_.clear();
  add_own_laps();
  for (int thread = 1; thread < pool_.n_threads(); ++thread) add_laps_of(thread, ns_per_tick);

  StepProfile step;
  step.begin_ns = begin_.ns;
  step.elapsed_ns = end.ns - begin_.ns;
  for (const PlanEntry& entry : plan.entries)
    (entry.n_tokens == 1 ? step.n_decode_tokens : step.n_prefill_tokens) += entry.n_tokens;
  step.ops = ops_;
  step.threads = threads_;
  step.tokens = tokens_;
  pool_.laps()->want_events(false);
  const ThreadEvents events = this->events();
  step.n_page_faults = events.page_faults - events_.page_faults;
  step.n_major_page_faults = events.major_page_faults - events_.major_page_faults;
  step.n_context_switches = events.switches - events_.switches;
  step.n_involuntary_switches = events.involuntary - events_.involuntary;
  events_ = events;
  observer_(step);
}

// The calling thread works from an operation's beginning until it waits.
void StepRecorder::add_own_laps() {
  ThreadProfile& profile = threads_.front();
  profile.busy_ns = 0;
  for (size_t i = 0; i < n_marks_; ++i) {
    const OpProfile& op = ops_[i];
    laps_.push_back({static_cast<int>(i), op.begin_ns, op.end_ns - op.wait_ns,
                     static_cast<int>(marks_[i + 1].own.n_pieces - marks_[i].own.n_pieces)});
    profile.busy_ns += op.end_ns - op.wait_ns - op.begin_ns;
  }
  profile.laps = laps_;
}

// The others say when they work, on other cores' clocks.
void StepRecorder::add_laps_of(int thread, double ns_per_tick) {
  const LapLog& log = *pool_.laps();
  const size_t first = laps_.size();
  ThreadProfile& profile = threads_[static_cast<size_t>(thread)];
  profile.busy_ns = 0;
  for (size_t i = 0; i < n_marks_; ++i) {
    int64_t from_ns = ops_[i].begin_ns;
    const auto ns_at = [&](uint64_t at) {
      const auto ticks = static_cast<int64_t>(at - begin_.ticks);
      return std::clamp(static_cast<int64_t>(static_cast<double>(ticks) * ns_per_tick), from_ns, ops_[i].end_ns);
    };
    for (uint32_t job = marks_[i].job + 1; job - 1 != marks_[i + 1].job; ++job) {
      const std::optional<LapLog::Lap> lap = log.find(thread, job);
      if (!lap) continue;
      laps_.push_back({static_cast<int>(i), ns_at(lap->begin), ns_at(lap->end), lap->n_pieces});
      from_ns = laps_.back().end_ns;
      profile.busy_ns += laps_.back().end_ns - laps_.back().begin_ns;
    }
  }
  profile.laps = std::span(laps_).subspan(first);
}

}  // namespace decant
