// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace decant {

/// Folders of the process's own cgroup (v2) and of every group above it, innermost first, each ending in '/': any of
/// them may limit. None without cgroups.
std::vector<std::string> own_cgroups();

}  // namespace decant
