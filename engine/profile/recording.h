// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decant/profile.h"

namespace decant::profile {

/// Every operation and every thread's laps of a step.
struct StepDetail {
  std::vector<OpProfile> ops;
  std::vector<std::vector<LapProfile>> threads;
};

/// A step, kept.
struct RecordedStep {
  int round = 0;
  int64_t begin_ns = 0;
  int64_t elapsed_ns = 0;
  std::array<int64_t, kOps> work_ns = {};  ///< of the calling thread, all layers together; without waiting
  int64_t wait_ns = 0;                     ///< it waited for others
  std::array<size_t, kOps> bytes = {};
  std::vector<int64_t> busy_ns;  ///< of each thread
  int64_t n_page_faults = 0, n_major_page_faults = 0, n_context_switches = 0, n_involuntary_switches = 0;
  int64_t detokenize_ns = 0, callback_ns = 0;  ///< what the program did with its tokens
  int detail = -1;                             ///< index in Recording::details(); -1: not kept
};

/// What a thread did of one operation, over all steps.
struct Work {
  int64_t busy_ns = 0;
  int64_t n_pieces = 0;
};

/// Steps as an observer was told of them.
class Recording {
 public:
  /// detail_bytes: how much memory details may take; later steps go without.
  explicit Recording(size_t detail_bytes) : detail_bytes_(detail_bytes) {}

  /// Steps from here on belong to a round. What the process went through before it isn't theirs.
  void begin_round(int round) noexcept;
  /// Not before begin_round(): ignored.
  void add(const StepProfile& step);
  /// What the program did with the last step's tokens.
  void add_program(int64_t detokenize_ns, int64_t callback_ns) noexcept;

  const std::vector<RecordedStep>& steps() const noexcept { return steps_; }
  const std::vector<StepDetail>& details() const noexcept { return details_; }
  /// [thread][operation].
  const std::vector<std::array<Work, kOps>>& work() const noexcept { return work_; }

 private:
  size_t detail_bytes_;
  int round_ = -1;
  bool first_of_round_ = false;
  std::vector<RecordedStep> steps_;
  std::vector<StepDetail> details_;
  std::vector<std::array<Work, kOps>> work_;
};

}  // namespace decant::profile
