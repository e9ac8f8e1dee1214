// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

namespace decant::test {

/// Latencies of a report that is made up, around which the rest of it is filled in.
struct SampleRun {
  int threads = 1, depth = 0;
  double ms = 7.0;         ///< a token
  double noise = 0.01;     ///< of a token, beside it
  double drift = 0.0;      ///< of a whole round
  double gb_per_s = 20.0;  ///< of memory
  double ops_scale = 1.0;  ///< of the operations' times
  uint64_t seed = 1;
};

/// A report of `decant profile --json` with every field, of 3 rounds of 100 tokens unless told otherwise.
nlohmann::ordered_json sample_report(const std::vector<SampleRun>& runs, int n_tokens = 100, int repeat = 3);

}  // namespace decant::test
