// SPDX-License-Identifier: Apache-2.0
#include "engine/model/printable.h"

#include <cstddef>

namespace decant::model {

namespace {

constexpr size_t kMaxName = 120;

/// Length of the UTF-8 character at the front (RFC 3629: no overlong forms, no surrogates); 0 if there is none.
size_t character_length(std::string_view bytes) noexcept {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.empty()) return 0;
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xC0U) != 0x80U) return 0;
  if (first == 0xE0 && at(1) < 0xA0) return 0;
  if (first == 0xED && at(1) > 0x9F) return 0;
  if (first == 0xF0 && at(1) < 0x90) return 0;
  if (first == 0xF4 && at(1) > 0x8F) return 0;
  return length;
}

}  // namespace

std::string printable(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    if (out.size() >= kMaxName) return out + "…";
    const size_t length = character_length(name);
    const bool control = length == 1 && (static_cast<unsigned char>(name[0]) < 0x20 || name[0] == 0x7F);
    if (length == 0 || control)
      out += '?';
    else
      out += name.substr(0, length);
    name.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const size_t length = character_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

}  // namespace decant::model
