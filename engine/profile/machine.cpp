// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/machine.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <unistd.h>

#include "decant/detail/format.h"

#include "engine/cgroup.h"
#include "engine/thread_pool.h"

namespace decant::profile {
namespace {

/// A file's first line; empty where there is none.
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What follows "key" and a colon in a file of such lines.
std::string field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

/// "32768K", "24562696 kB" or "1024" in bytes.
size_t parse_size(const std::string& text) {
  std::istringstream in(text);
  size_t value = 0;
  char unit = '\0';
  if (!(in >> value)) return 0;
  in >> unit;
  const int shift = unit == 'K' || unit == 'k' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
  return value << shift;
}

/// The word in brackets of "always [madvise] never".
std::string chosen_word(const std::string& line) {
  const size_t open = line.find('['), close = line.find(']');
  return open == std::string::npos || close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

/// CPUs or nodes in a list such as "0-3,8".
int count_list(const std::string& list) {
  std::istringstream in(list);
  int n = 0;
  for (std::string range; std::getline(in, range, ',');) {
    int first = 0, last = 0;
    char dash = '\0';
    std::istringstream ends(range);
    if (!(ends >> first)) continue;
    n += ends >> dash >> last && last >= first ? last - first + 1 : 1;
  }
  return n;
}

std::vector<CpuCache> read_caches() {
  std::vector<CpuCache> caches;
  constexpr int kMostCaches = 16;
  for (int i = 0; i < kMostCaches; ++i) {
    const std::string folder = detail::format("/sys/devices/system/cpu/cpu0/cache/index{}/", i);
    CpuCache cache;
    cache.type = first_line(folder + "type");
    if (cache.type.empty()) break;
    cache.level = static_cast<int>(parse_size(first_line(folder + "level")));
    cache.size_bytes = parse_size(first_line(folder + "size"));
    cache.shared_by = first_line(folder + "shared_cpu_list");
    caches.push_back(std::move(cache));
  }
  return caches;
}

}  // namespace

size_t available_memory_bytes() {
  size_t available = parse_size(field("/proc/meminfo", "MemAvailable"));
  for (const std::string& folder : own_cgroups()) {
    const size_t most = parse_size(first_line(folder + "memory.max"));  // "max" is none: 0
    const size_t used = parse_size(first_line(folder + "memory.current"));
    if (most > 0) available = std::min(available, most > used ? most - used : 0);
  }
  return available;
}

Machine describe_machine() {
  Machine machine;
  machine.cpu = field("/proc/cpuinfo", "model name");
  machine.n_cpus = static_cast<int>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
  machine.n_threads = default_thread_count();
  machine.n_numa_nodes = count_list(first_line("/sys/devices/system/node/online"));
  machine.isas.assign(available_isas().begin(), available_isas().end());
  machine.caches = read_caches();
  machine.huge_pages = chosen_word(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  machine.memory_bytes = parse_size(field("/proc/meminfo", "MemTotal"));
  machine.available_bytes = available_memory_bytes();
  return machine;
}

}  // namespace decant::profile
