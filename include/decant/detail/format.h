// SPDX-License-Identifier: Apache-2.0
#pragma once

// The only name of fmt in decant.
#include <string>

#include <spdlog/fmt/fmt.h>

namespace decant::detail {

/// format("{}: tensor '{}' ends at byte {}", path, name, end)
template <typename... Args>
std::string format(fmt::format_string<Args...> text, Args&&... args) {
  return fmt::format(text, std::forward<Args>(args)...);
}

}  // namespace decant::detail
