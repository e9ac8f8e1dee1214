// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/model_args.h"
#include "tools/profile_report.h"
#include "tools/synthetic_model.h"
#include "tools/terminal.h"

namespace decant::tools {

/// What `decant profile` is to measure.
struct ProfileTask {
  ModelArgs model;
  std::optional<Synthetic> synthetic;
  std::string synthetic_name;
  std::vector<int32_t> threads, depths = {0};
  std::optional<std::string> prompt;  ///< a text; otherwise n_prompt_tokens made-up ids
  std::optional<int> n_prompt_tokens;
  std::optional<int> n_tokens = 64, repeat = 3;
  bool counters = false;
};

Result<ProfileReport> measure_profile(ProfileTask task, const Interrupts& interrupts);

}  // namespace decant::tools
