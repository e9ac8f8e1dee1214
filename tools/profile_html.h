// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace decant::tools {

/// One page that needs no network and no other file: the data of `decant profile --json`, and the script that draws it.
///
/// report      what was measured
/// other       a second report to lay over the first, or null
/// comparison  how the two differ and by how much more than by chance, or null
///
/// No string of the data becomes markup, whatever it holds; bytes that aren't UTF-8 are replaced.
std::string profile_html(const nlohmann::ordered_json& report, const nlohmann::ordered_json* other,
                         const nlohmann::ordered_json* comparison);

}  // namespace decant::tools
