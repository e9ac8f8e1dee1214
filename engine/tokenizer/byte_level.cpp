// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/byte_level.h"

#include <array>

#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

constexpr size_t kEnd = 0x100 + 68;  // 68 bytes have no visible character of their own

struct Map {
  std::array<uint16_t, 256> characters{};
  std::array<int16_t, kEnd> bytes{};
};

constexpr bool is_visible(int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; }

constexpr Map make_map() {
  Map map;
  for (int16_t& b : map.bytes) b = -1;
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const int c = is_visible(b) ? b : next++;
    map.characters[static_cast<size_t>(b)] = static_cast<uint16_t>(c);
    map.bytes[static_cast<size_t>(c)] = static_cast<int16_t>(b);
  }
  return map;
}

constexpr Map kMap = make_map();

}  // namespace

char32_t byte_level_character(uint8_t byte) noexcept { return kMap.characters[byte]; }

int byte_of_character(char32_t c) noexcept { return c < kEnd ? kMap.bytes[c] : -1; }

void append_byte_level(std::string_view token, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < token.size();) {
    const Utf8Step step = utf8_step(token.substr(at));
    const int b = byte_of_character(step.code_point);
    if (step.kind != Utf8Kind::character || b < 0) {
      bytes.resize(before);
      bytes += token;
      return;
    }
    bytes += static_cast<char>(static_cast<uint8_t>(b));
    at += step.bytes;
  }
}

}  // namespace decant::tokenizer
