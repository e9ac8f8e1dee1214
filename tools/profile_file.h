// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "decant/result.h"

namespace decant::tools {

/// The version of the report that this program writes and reads.
inline constexpr int kProfileVersion = 1;

/// JSON Schema (draft 7) of the report: tools/profile.schema.json.
const char* profile_schema() noexcept;

/// A report that `decant profile --json` wrote, checked whole: what the schema asks for is there, of its type and
/// within its bounds; arrays that belong together are of one length; no run is there twice. Fields that nobody knows
/// are left in.
///
/// Errors: `io`; `bad_format`, naming file and field; `unsupported` (another version, a file beyond 64 MiB).
Result<nlohmann::ordered_json> read_profile(const std::string& path);

}  // namespace decant::tools
