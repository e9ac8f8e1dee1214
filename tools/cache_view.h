// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "decant/stats.h"

namespace decant::tools {

/// What a cache holds, for people: a bar of its bytes by owner, a legend, and what the tree of prefixes did. Several
/// lines of at most 100 columns, each with its newline.
std::string draw_cache(const CacheStats& stats);

/// "1.5 MB": in units of 1024, to three digits.
std::string show_bytes(size_t n);

/// "1,234,567"
std::string show_count(int64_t n);

}  // namespace decant::tools
