// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/profile/breakdown.h"
#include "engine/profile/measure.h"

namespace decant::profile {

/// What decides how fast tokens come.
enum class Bound {
  memory,        ///< reading weights, keys and values
  cache,         ///< they lie in the processor's cache: its speed, and arithmetic
  arithmetic,    ///< memory could deliver more
  threads,       ///< waiting for each other
  interference,  ///< other programs on the same CPUs
  faults,        ///< pages that come from the disk
};
const char* to_string(Bound bound) noexcept;

struct Verdict {
  Bound bound = Bound::memory;
  std::vector<std::string> text;  ///< sentences: what bounds the run, what would change it
};

/// One thread count and depth, measured.
struct RunFacts {
  int n_threads = 0;
  int n_cpus = 0;  ///< that the process may use; 0: unknown
  int depth = 0;
  DecodeFigures figures;
  Breakdown breakdown;
  size_t last_level_cache = 0;  ///< bytes; 0: unknown
  bool kv_is_wide = true;       ///< keys and values of 16 bits or more
};
Verdict verdict_of(const RunFacts& run);

/// How the model was opened.
struct LoadFacts {
  double seconds = 0.0;
  size_t bytes = 0;
  std::optional<double> cached_share;  ///< of its files, before; unknown where the system doesn't tell
  size_t disk_bytes = 0;               ///< read from a disk meanwhile
};
/// Sentences about the loading and about the runs together; none where there is nothing to say.
std::vector<std::string> overall_verdict(const LoadFacts& load, const std::vector<RunFacts>& runs);

}  // namespace decant::profile
