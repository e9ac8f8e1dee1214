// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "decant/stats.h"

namespace decant::tools {

/// What a cache holds, for people: a bar of its bytes by owner, a legend, and what the tree of prefixes did. Several
/// lines of about 100 columns at most, each with its newline.
std::string draw_cache(const CacheStats& stats);

/// The bar and its legend alone. total_bytes: what the whole bar stands for.
std::string draw_owners(const CacheStats& stats, size_t total_bytes);

/// "1.5 MB": in units of 1024, to three digits.
std::string show_bytes(size_t n);

/// "1,234,567"
std::string show_count(int64_t n);

/// "1 block", "1,234 blocks". noun: one that takes an s.
std::string show_count(int64_t n, const char* noun);

}  // namespace decant::tools
