// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "decant/isa.h"

namespace decant::profile {

/// One of the caches that the first CPU reads through.
struct CpuCache {
  int level = 0;
  std::string type;  ///< "Data", "Instruction", "Unified"
  size_t size_bytes = 0;
  std::string shared_by;  ///< CPUs that have it in common, as Linux writes them: "0-7"
};

/// What decides how fast a token can be. Where the system doesn't tell, a text is empty and a number 0.
struct Machine {
  std::string cpu;    ///< as it calls itself
  int n_cpus = 0;     ///< that are online
  int n_threads = 0;  ///< that this process may use: default_thread_count()
  int n_numa_nodes = 0;
  std::vector<Isa> isas;  ///< available_isas(), of which the last is chosen
  std::vector<CpuCache> caches;
  std::string huge_pages;  ///< transparent ones: "always", "madvise" or "never"
  size_t memory_bytes = 0;
  size_t available_bytes = 0;  ///< of the memory, at this moment
};

/// Reads /proc and /sys.
Machine describe_machine();

/// Memory that can be taken at this moment without others being swapped out, the limits of the process's cgroups
/// counted; 0 where the system doesn't tell.
size_t available_memory_bytes();

}  // namespace decant::profile
