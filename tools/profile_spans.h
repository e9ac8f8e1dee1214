// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "engine/profile/recording.h"

namespace decant::tools {

/// What a thread went through in a step, from beginning to end without a gap:
/// visit(const char* name, int layer, int64_t begin_ns, int64_t end_ns, bool wait).
template <typename Visit>
void for_each_span(const profile::Recording& recording, const profile::RecordedStep& step,
                   const profile::RecordedThread& thread, const Visit& visit) {
  int64_t at = 0;
  for (const LapProfile& lap : recording.laps(thread)) {
    const OpProfile& op = recording.ops(step)[static_cast<size_t>(lap.op)];
    if (lap.begin_ns > at) visit("wait", -1, at, lap.begin_ns, true);
    if (lap.end_ns > lap.begin_ns) visit(to_string(op.op), op.layer, lap.begin_ns, lap.end_ns, false);
    at = lap.end_ns;
  }
  if (step.elapsed_ns > at) visit("wait", -1, at, step.elapsed_ns, true);
}

}  // namespace decant::tools
