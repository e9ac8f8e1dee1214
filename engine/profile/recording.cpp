// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/recording.h"

#include <algorithm>

namespace decant::profile {
namespace {

/// Room for n elements, its pages in memory.
template <typename T>
void take(std::vector<T>& values, size_t n) {
  values.resize(n);
  values.clear();
}

size_t n_laps(const StepProfile& step) {
  size_t n = 0;
  for (const ThreadProfile& thread : step.threads) n += thread.laps.size();
  return n;
}

}  // namespace

void Recording::begin_round(int round) noexcept {
  round_ = round;
  first_of_round_ = true;
}

void Recording::take_memory(const StepProfile& step) {
  n_threads_ = static_cast<int>(step.threads.size());
  work_.resize(step.threads.size());
  take(steps_, n_expected_);
  take(threads_, n_expected_ * step.threads.size());
  // The next ones may have more: a prompt's last step computes logits, and here threads may have come too late.
  const size_t ops_of_step = step.ops.size() + 2;
  const size_t most_laps = std::max(n_laps(step), ops_of_step * step.threads.size());
  const size_t laps_of_step = most_laps + most_laps / 4;
  const size_t bytes_of_step = ops_of_step * sizeof(OpProfile) + laps_of_step * sizeof(LapProfile);
  const size_t n_detailed = std::min(n_expected_, detail_bytes_ / std::max<size_t>(bytes_of_step, 1));
  take(ops_, n_detailed * ops_of_step);
  take(laps_, n_detailed * laps_of_step);
}

void Recording::add(const StepProfile& step) {
  if (n_threads_ == 0) take_memory(step);
  if (round_ < 0) return;
  RecordedStep& kept = steps_.emplace_back();
  kept.round = round_;
  kept.begin_ns = step.begin_ns;
  kept.elapsed_ns = step.elapsed_ns;
  for (const OpProfile& op : step.ops) {
    kept.work_ns[static_cast<size_t>(op.op)] += op.end_ns - op.begin_ns - op.wait_ns;
    kept.wait_ns += op.wait_ns;
    kept.bytes[static_cast<size_t>(op.op)] += op.bytes;
  }
  if (!first_of_round_) {
    kept.n_page_faults = step.n_page_faults;
    kept.n_major_page_faults = step.n_major_page_faults;
    kept.n_context_switches = step.n_context_switches;
    kept.n_involuntary_switches = step.n_involuntary_switches;
  }
  first_of_round_ = false;

  const bool detailed =
      ops_.capacity() - ops_.size() >= step.ops.size() && laps_.capacity() - laps_.size() >= n_laps(step);
  kept.first_op = ops_.size();
  if (detailed) {
    kept.n_ops = step.ops.size();
    ops_.insert(ops_.end(), step.ops.begin(), step.ops.end());
  }
  kept.first_thread = threads_.size();
  for (size_t thread = 0; thread < step.threads.size(); ++thread) {
    const ThreadProfile& profile = step.threads[thread];
    threads_.push_back({profile.busy_ns, laps_.size(), detailed ? profile.laps.size() : 0});
    if (detailed) laps_.insert(laps_.end(), profile.laps.begin(), profile.laps.end());
    for (const LapProfile& lap : profile.laps) {
      if (lap.n_pieces == 0) continue;  // the calling thread's alone
      Work& work = work_[thread][static_cast<size_t>(step.ops[static_cast<size_t>(lap.op)].op)];
      work.busy_ns += lap.end_ns - lap.begin_ns;
      work.n_pieces += lap.n_pieces;
    }
  }
}

void Recording::add_program(int64_t profiler_ns, int64_t detokenize_ns, int64_t callback_ns) noexcept {
  if (round_ < 0 || steps_.empty()) return;
  steps_.back().profiler_ns += profiler_ns;
  steps_.back().detokenize_ns += detokenize_ns;
  steps_.back().callback_ns += callback_ns;
}

std::span<const RecordedThread> Recording::threads(const RecordedStep& step) const noexcept {
  return std::span(threads_).subspan(step.first_thread, static_cast<size_t>(n_threads_));
}

std::span<const OpProfile> Recording::ops(const RecordedStep& step) const noexcept {
  return std::span(ops_).subspan(step.first_op, step.n_ops);
}

std::span<const LapProfile> Recording::laps(const RecordedThread& thread) const noexcept {
  return std::span(laps_).subspan(thread.first_lap, thread.n_laps);
}

}  // namespace decant::profile
