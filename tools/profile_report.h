// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "decant/model.h"

#include "engine/profile/machine.h"
#include "engine/profile/measure.h"

namespace decant::tools {

/// One thread count and depth, measured.
struct ProfileRun {
  int n_threads = 0;
  int depth = 0;
  int n_prefill_tokens = 0;  ///< 0: none was measured
  profile::Timings decode, prefill;
};

/// All that `decant profile` found out.
struct ProfileReport {
  profile::Machine machine;
  ModelInfo model;
  std::string k_type, v_type, isa, numerics;
  size_t weight_bytes = 0;  ///< of the file, that a token reads
  LoadTimes load_times;
  double load_seconds = 0.0;         ///< of Model::open
  double first_token_seconds = 0.0;  ///< from the start of loading
  std::vector<ProfileRun> runs;
};

/// Fields keep their names from version to version; "version" rises where one changes its meaning.
nlohmann::ordered_json profile_json(const ProfileReport& report);

/// For people, 100 columns wide.
std::string profile_table(const ProfileReport& report);

}  // namespace decant::tools
