// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/recording.h"

namespace decant::profile {

void Recording::begin_round(int round) noexcept {
  round_ = round;
  first_of_round_ = true;
}

void Recording::add(const StepProfile& step) {
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
  work_.resize(step.threads.size());
  for (size_t thread = 0; thread < step.threads.size(); ++thread) {
    kept.busy_ns.push_back(step.threads[thread].busy_ns);
    for (const LapProfile& lap : step.threads[thread].laps) {
      Work& work = work_[thread][static_cast<size_t>(step.ops[static_cast<size_t>(lap.op)].op)];
      if (lap.n_pieces == 0) continue;  // the calling thread's alone
      work.busy_ns += lap.end_ns - lap.begin_ns;
      work.n_pieces += lap.n_pieces;
    }
  }
  if (!first_of_round_) {
    kept.n_page_faults = step.n_page_faults;
    kept.n_major_page_faults = step.n_major_page_faults;
    kept.n_context_switches = step.n_context_switches;
    kept.n_involuntary_switches = step.n_involuntary_switches;
  }
  first_of_round_ = false;

  size_t bytes = step.ops.size() * sizeof(OpProfile);
  for (const ThreadProfile& thread : step.threads) bytes += thread.laps.size() * sizeof(LapProfile);
  if (bytes > detail_bytes_) return;
  detail_bytes_ -= bytes;
  kept.detail = static_cast<int>(details_.size());
  StepDetail& detail = details_.emplace_back();
  detail.ops.assign(step.ops.begin(), step.ops.end());
  for (const ThreadProfile& thread : step.threads) detail.threads.emplace_back(thread.laps.begin(), thread.laps.end());
}

void Recording::add_program(int64_t detokenize_ns, int64_t callback_ns) noexcept {
  if (round_ < 0 || steps_.empty()) return;
  steps_.back().detokenize_ns += detokenize_ns;
  steps_.back().callback_ns += callback_ns;
}

}  // namespace decant::profile
