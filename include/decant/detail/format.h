// SPDX-License-Identifier: Apache-2.0
#pragma once

// The only name of fmt in decant. Its light header here, its code in cache/format.cpp alone: nothing of it is linked.
#include <string>

#include <fmt/core.h>

namespace decant::detail {

std::string vformat(fmt::string_view text, fmt::format_args args);

/// format("{}: tensor '{}' ends at byte {}", path, name, end)
template <typename... Args>
std::string format(fmt::format_string<Args...> text, Args&&... args) {
  return detail::vformat(text, fmt::make_format_args(args...));
}

}  // namespace decant::detail
