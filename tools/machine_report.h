// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/profile/machine.h"

namespace decant::tools {

/// The machine's fields by name, in the order in which people read them.
nlohmann::ordered_json machine_json(const profile::Machine& machine);

/// "AMD EPYC, 2 threads, avx512vnni".
std::string machine_line(const profile::Machine& machine);

}  // namespace decant::tools
