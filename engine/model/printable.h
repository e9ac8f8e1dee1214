// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace decant::model {

/// A name from a file, fit for a message: control characters and bytes that aren't UTF-8 become '?', length is bounded.
std::string printable(std::string_view name);

/// Whether some bytes are UTF-8.
bool is_utf8(std::string_view bytes) noexcept;

}  // namespace decant::model
