// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "decant/engine.h"
#include "decant/model.h"

#include "engine/profile/breakdown.h"
#include "engine/profile/machine.h"
#include "engine/profile/measure.h"
#include "engine/profile/perf_counters.h"
#include "engine/profile/verdict.h"

namespace decant::tools {

/// What was measured of a prompt.
struct PrefillReport {
  int n_tokens = 0;
  profile::Timings timings;
  std::vector<double> tokenize_seconds;  ///< a round
  profile::Recording steps;
  std::vector<profile::Sample> samples;  ///< a round each
  profile::Breakdown breakdown;          ///< of the round in the middle
  size_t middle_round = 0;

  double seconds() const { return timings.seconds[middle_round]; }
  double tokenize_ms() const { return tokenize_seconds[middle_round] * 1e3; }
  double sample_ms() const { return breakdown.work_ns[static_cast<size_t>(Op::sample)] / 1e6; }
  double prefill_ms() const { return seconds() * 1e3 - sample_ms(); }
  /// Time to first token of that round: the sum of the three.
  double ttft_ms_typical() const { return tokenize_ms() + seconds() * 1e3; }
  double tokens_per_s() const { return n_tokens / seconds(); }
  /// Time to first token of each round, milliseconds.
  std::vector<double> ttft_ms() const;
};

/// One thread count and depth, measured.
struct ProfileRun {
  profile::RunFacts facts;  ///< figures and breakdown of decoding
  int n_rounds = 0;
  profile::Timings timings;
  profile::Recording steps;
  std::vector<profile::Sample> samples;  ///< a token each
  std::vector<profile::SlowToken> slowest;
  profile::Verdict verdict;
  profile::CounterValues counters;  ///< a token
  std::optional<PrefillReport> prefill;
};

struct MemoryOwner {
  std::string owner;
  size_t bytes = 0;
};

/// All that `decant profile` found out.
struct ProfileReport {
  profile::Machine machine;
  ModelInfo model;
  std::string k_type, v_type, isa, numerics;
  bool pin_threads = false;
  int n_prompt_tokens = 0, n_tokens = 0, n_rounds = 0;
  size_t weight_bytes = 0;  ///< of the file, that a token reads
  LoadTimes load_times;
  profile::LoadFacts load;           ///< load.seconds: of Model::open
  double first_token_seconds = 0.0;  ///< from the start of loading
  bool counters_wanted = false;
  std::string counters_note;  ///< why counters are missing
  std::vector<MemoryOwner> memory;
  std::vector<ProfileRun> runs;
  std::vector<std::string> verdict;
};

/// profile.schema.json describes it. Fields keep their names from version to version; "version" rises where one changes
/// its meaning.
nlohmann::ordered_json profile_json(const ProfileReport& report);

/// One line a run, after a line of names.
std::string profile_csv(const ProfileReport& report);

/// For people, 100 columns wide. bold: for a terminal, with its escape sequences.
std::string profile_table(const ProfileReport& report, bool bold);

/// Chrome trace events, as Perfetto opens them: a process for each thread count, a lane for each thread.
std::string profile_trace(const ProfileReport& report);

}  // namespace decant::tools
