// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "decant/profile.h"

namespace decant::profile {

/// A step put together by hand, operation after operation, as an engine would tell of it.
class HandMadeStep {
 public:
  explicit HandMadeStep(int n_threads) : laps_(static_cast<size_t>(n_threads)) {}

  /// The caller works on an operation, in so many pieces, and waits then.
  HandMadeStep& op(Op op, int layer, int64_t work_ns, int64_t wait_ns = 0, int n_pieces = 0, size_t bytes = 0) {
    const int64_t begin = ops_.empty() ? 0 : ops_.back().end_ns;
    ops_.push_back({op, layer, begin, begin + work_ns + wait_ns, wait_ns, bytes});
    laps_[0].push_back({static_cast<int>(ops_.size()) - 1, begin, begin + work_ns, n_pieces});
    return *this;
  }
  /// Another thread's part in that operation, from its beginning on.
  HandMadeStep& lap(int thread, int64_t busy_ns, int n_pieces) {
    const int64_t begin = ops_.back().begin_ns;
    laps_[static_cast<size_t>(thread)].push_back({static_cast<int>(ops_.size()) - 1, begin, begin + busy_ns, n_pieces});
    return *this;
  }

  /// Valid while the object lives and nothing is added.
  StepProfile at(int64_t begin_ns) {
    threads_.clear();
    for (const std::vector<LapProfile>& laps : laps_) {
      ThreadProfile& thread = threads_.emplace_back();
      thread.laps = laps;
      for (const LapProfile& lap : laps) thread.busy_ns += lap.end_ns - lap.begin_ns;
    }
    StepProfile step;
    step.begin_ns = begin_ns;
    step.elapsed_ns = ops_.empty() ? 0 : ops_.back().end_ns;
    step.n_decode_tokens = 1;
    step.ops = ops_;
    step.threads = threads_;
    return step;
  }

 private:
  std::vector<OpProfile> ops_;
  std::vector<std::vector<LapProfile>> laps_;
  std::vector<ThreadProfile> threads_;
};

}  // namespace decant::profile
