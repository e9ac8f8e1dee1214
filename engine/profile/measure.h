// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <vector>

#include "decant/engine.h"

#include "engine/profile/read_bandwidth.h"

namespace decant::profile {

/// What to measure. Each round reads memory first and computes then: machines drift, so a figure is only worth
/// something beside the bandwidth of the same moment.
struct Task {
  int depth = 0;        ///< tokens that are in the cache already
  int n_tokens = 64;    ///< to compute: one by one (decode), or at once (prefill)
  int n_sequences = 1;  ///< decode: at once, each `depth` long
  int n_rounds = 3;
  std::stop_token stop;
  std::vector<int32_t> prompt;  ///< prefill: of n_tokens; made up where it is empty
  /// Called when a round begins, memory read and what comes first warmed up. May be empty.
  std::function<void(int round)> begin_round;
  /// Called when a round is over: what steps next isn't part of any. May be empty.
  std::function<void()> end_round;
  /// What a program does with a step's tokens. Its time counts. May be empty.
  std::function<void(const StepReport& report)> consume;
};

/// Rounds of a task, measured.
struct Timings {
  /// From token to token (decode), or from the submission of a round's prompt to the token after it (prefill).
  std::vector<double> seconds;
  std::vector<double> bandwidth;  ///< bytes per second, beside each round
  size_t kv_bytes = 0;            ///< that the first token of each round reads, all sequences together
};

/// The engine must have room: max_sequences ≥ n_sequences, none alive, and n_ctx > depth + n_tokens. Errors as
/// add_filled_sequence() and Engine::step(), `cancelled` among them.
Result<Timings> measure_decode(Engine& engine, ReadBandwidth& memory, const Task& task);
Result<Timings> measure_prefill(Engine& engine, ReadBandwidth& memory, const Task& task);

/// What follows from the timings of decoding.
struct DecodeFigures {
  double ms_p50 = 0.0, ms_p90 = 0.0, ms_p99 = 0.0, ms_p999 = 0.0, ms_max = 0.0;  ///< a step
  double tokens_per_s = 0.0;                                                     ///< of all sequences together
  size_t bytes = 0;  ///< that the first step of a round reads: weights, keys and values
  double gb_per_s = 0.0;
  double bandwidth_gb_per_s = 0.0;  ///< that plain reads made beside it; 0: unknown, and the share too
  double bandwidth_share = 0.0;
};
DecodeFigures decode_figures(const Timings& timings, size_t weight_bytes, int n_sequences = 1);

}  // namespace decant::profile
