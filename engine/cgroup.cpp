// SPDX-License-Identifier: Apache-2.0
#include "engine/cgroup.h"

#include <fstream>

namespace decant {

std::vector<std::string> own_cgroups() {
  std::vector<std::string> folders;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    std::string group = line.substr(3);  // "/a/b", or "/" for the root
    if (!group.ends_with('/')) group += '/';
    for (size_t end = group.size(); end != 0; end = end == 1 ? 0 : group.rfind('/', end - 2) + 1)
      folders.push_back("/sys/fs/cgroup" + group.substr(0, end));
  }
  return folders;
}

}  // namespace decant
