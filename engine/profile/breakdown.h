// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/profile/recording.h"

namespace decant::profile {

/// Steps that are looked at as one: a token's only one, or those of a prompt.
struct Sample {
  size_t first_step = 0;
  size_t n_steps = 1;
  double ns = 0.0;  ///< on the program's own clock, from token to token
};

/// Each step of a recording with the seconds that the program measured, or all steps of each round with the seconds of
/// its number.
std::vector<Sample> samples_of_steps(const Recording& recording, std::span<const double> seconds);
std::vector<Sample> samples_of_rounds(const Recording& recording, std::span<const double> seconds);

/// What a thread does in a sample.
struct WorkerFigures {
  double busy_ns = 0.0;
  double wait_ns = 0.0;  ///< the rest of the steps
  double n_pieces = 0.0;
  double pace = 1.0;  ///< pieces in its busy time beside those of the fastest thread, operations that they share;
                      ///< 1 where it shares none
};

/// Where the time of a typical sample goes: the mean of the middle half of them, by their time. work_ns, wait_ns and
/// the program's part add up to ns but for what nobody has named.
struct Breakdown {
  double ns = 0.0;
  double mean_ns = 0.0, quick_ns = 0.0;   ///< of all samples; below which a tenth of them lies
  std::array<double, kOps> work_ns = {};  ///< of the calling thread
  double wait_ns = 0.0;                   ///< it waited for others
  double profiler_ns = 0.0;               ///< telling the observer
  double detokenize_ns = 0.0, callback_ns = 0.0;
  std::array<size_t, kOps> bytes = {};                  ///< of the first sample
  std::vector<std::array<double, kOps>> layer_work_ns;  ///< of samples whose details were kept
  std::vector<WorkerFigures> workers;
  double n_page_faults = 0.0, n_major_page_faults = 0.0, n_context_switches = 0.0, n_involuntary_switches = 0.0;
  size_t middle = 0;  ///< the sample of median time among those with details

  size_t total_bytes() const;
};

Breakdown break_down(const Recording& recording, std::span<const Sample> samples);

/// Of a typical token: what exceeds it by no more isn't slow.
inline constexpr double kUsualExcess = 0.03;

/// A token that took long, and why.
struct SlowToken {
  size_t sample = 0;
  double ms = 0.0;
  double excess_ms = 0.0;  ///< above a typical one
  std::string reason;      ///< "2.0 ms more in ffn_down of layer 3; a thread lost its CPU once"
};

/// The slowest, at most n, slowest first. Samples of one step each.
std::vector<SlowToken> slowest_tokens(const Recording& recording, std::span<const Sample> samples,
                                      const Breakdown& typical, size_t n);

}  // namespace decant::profile
