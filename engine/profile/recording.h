// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "decant/profile.h"

namespace decant::profile {

/// A step, kept.
struct RecordedStep {
  int round = 0;
  int64_t begin_ns = 0;
  int64_t elapsed_ns = 0;
  std::array<int64_t, kOps> work_ns = {};  ///< of the calling thread, all layers together; without waiting
  int64_t wait_ns = 0;                     ///< it waited for others
  std::array<size_t, kOps> bytes = {};
  int64_t n_page_faults = 0, n_major_page_faults = 0, n_context_switches = 0, n_involuntary_switches = 0;
  /// What came after it: telling the observer, and what the program did with its tokens.
  int64_t profiler_ns = 0, detokenize_ns = 0, callback_ns = 0;
  size_t first_thread = 0, first_op = 0, n_ops = 0;  ///< of Recording::threads() and ops()

  int64_t end_ns() const { return begin_ns + elapsed_ns; }
};

/// A thread's part in a step.
struct RecordedThread {
  int64_t busy_ns = 0;
  size_t first_lap = 0, n_laps = 0;  ///< of Recording::laps()
};

/// What a thread did of one operation, over all steps.
struct Work {
  int64_t busy_ns = 0;
  int64_t n_pieces = 0;
};

/// Steps as an observer was told of them. Memory for what is expected is taken, and brought in, with the first step, so
/// that the others needn't wait for any.
class Recording {
 public:
  Recording() = default;
  /// n_steps: that are expected. detail_bytes: what operations and laps may take; later steps go without.
  Recording(size_t n_steps, size_t detail_bytes) : n_expected_(n_steps), detail_bytes_(detail_bytes) {}

  /// Steps from here on belong to a round. What the threads went through before isn't theirs.
  void begin_round(int round) noexcept;
  void end_round() noexcept { round_ = -1; }
  /// Outside a round steps only show how much memory the others will need.
  void add(const StepProfile& step);
  /// What came after the last step.
  void add_program(int64_t profiler_ns, int64_t detokenize_ns, int64_t callback_ns) noexcept;

  const std::vector<RecordedStep>& steps() const noexcept { return steps_; }
  std::span<const RecordedThread> threads(const RecordedStep& step) const noexcept;
  /// All operations of a step, or none where they were not kept.
  std::span<const OpProfile> ops(const RecordedStep& step) const noexcept;
  std::span<const LapProfile> laps(const RecordedThread& thread) const noexcept;

  /// When the last step ended; 0 where none was kept.
  int64_t end_ns() const noexcept { return steps_.empty() ? 0 : steps_.back().end_ns(); }
  int n_threads() const noexcept { return n_threads_; }
  /// [thread][operation], over all steps.
  const std::vector<std::array<Work, kOps>>& work() const noexcept { return work_; }

 private:
  void take_memory(const StepProfile& step);

  size_t n_expected_ = 0, detail_bytes_ = 0;
  int n_threads_ = 0;
  int round_ = -1;
  bool first_of_round_ = false;
  std::vector<RecordedStep> steps_;
  std::vector<RecordedThread> threads_;
  std::vector<OpProfile> ops_;
  std::vector<LapProfile> laps_;
  std::vector<std::array<Work, kOps>> work_;
};

}  // namespace decant::profile
