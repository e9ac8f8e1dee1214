// SPDX-License-Identifier: Apache-2.0
#include "decant/detail/format.h"

#include <fmt/format.h>

namespace decant::detail {

std::string vformat(fmt::string_view text, fmt::format_args args) { return fmt::vformat(text, args); }

}  // namespace decant::detail
