// SPDX-License-Identifier: Apache-2.0
#pragma once

// UTF-8 and the few Unicode properties that tokenizers ask for.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace decant::tokenizer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  ///< U+FFFD
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";             ///< U+2581, SentencePiece's space

enum class Utf8Kind { character, invalid, incomplete };

/// What stands at the front of some bytes: a character; a maximal subpart of an ill-formed sequence, to be read as one
/// U+FFFD (Unicode 15, section 3.9); or, at the very end, the beginning of a character.
struct Utf8Step {
  Utf8Kind kind;
  size_t bytes;         ///< ≥ 1
  char32_t code_point;  ///< of a character
};

/// bytes must not be empty.
Utf8Step utf8_step(std::string_view bytes) noexcept;

bool is_valid_utf8(std::string_view bytes) noexcept;

/// Every maximal ill-formed subpart replaced by U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

void append_utf8(std::string& out, char32_t code_point);

/// White_Space.
bool is_white_space(char32_t c) noexcept;
/// General categories Nd, Nl, No.
bool is_numeric(char32_t c) noexcept;
/// ASCII punctuation and symbols, and general categories P*.
bool is_punctuation(char32_t c) noexcept;
/// Alphabetic, marks, decimal digits, connector punctuation, join controls: \w of UTS 18.
bool is_word(char32_t c) noexcept;

}  // namespace decant::tokenizer
