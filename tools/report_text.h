// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Text of reports for people.
namespace decant::tools {

inline constexpr size_t kReportColumns = 100;

/// Characters of UTF-8, not bytes.
size_t n_columns(std::string_view text);

/// The end of a text that is too long, where a path has its name.
std::string shortened(const std::string& text, size_t columns);

/// Words of a text on lines of at most kReportColumns, if they fit; `first` before the first line, as many spaces
/// before the others.
std::string wrapped(std::string_view first, std::string_view text);

/// "1 thread", "2 threads".
std::string plural(int n, std::string_view what);

/// "2 threads, depth 4096".
std::string run_name(int n_threads, int depth);

}  // namespace decant::tools
