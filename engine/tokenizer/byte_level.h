// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace decant::tokenizer {

/// GPT-2's map of bytes to printable characters: visible Latin-1 stays, the others take U+0100 onwards in order.
char32_t byte_level_character(uint8_t byte) noexcept;

/// The byte of a character, or -1.
int byte_of_character(char32_t c) noexcept;

/// Appends the bytes that a token stands for; a token with a character outside the map stands for its own bytes.
void append_byte_level(std::string_view token, std::string& bytes);

/// GPT-2's split pattern.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace decant::tokenizer
