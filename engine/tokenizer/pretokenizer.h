// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decant/result.h"

#include "engine/tokenizer/regex.h"

namespace decant::tokenizer {

struct Piece {
  size_t begin, end;  ///< bytes of the text; never empty
};

/// A text being cut into words.
struct PreTokens {
  std::string text;
  std::vector<Piece> pieces;  ///< left to right, disjoint; what lies between them is dropped
  bool from_start = false;    ///< whether byte 0 of `text` is where the user's input begins

  std::string_view view(const Piece& p) const { return std::string_view(text).substr(p.begin, p.end - p.begin); }
};

/// A step of the cutting. Immutable.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Status apply(PreTokens& tokens) const = 0;
};
using PreTokenizerPtr = std::unique_ptr<const PreTokenizer>;
using PreTokenizers = std::vector<PreTokenizerPtr>;

/// What becomes of a match: a piece of its own, dropped, part of the piece before or behind it, or one with the matches
/// next to it.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// invert: what lies between the matches is treated as the match.
PreTokenizerPtr split_pretokenizer(Pattern pattern, SplitBehavior behavior, bool invert);

/// Splits at single characters of a class.
PreTokenizerPtr character_pretokenizer(bool (*is_member)(char32_t) noexcept, SplitBehavior behavior);

/// Runs of word characters and runs of anything else that isn't white space; white space is dropped.
PreTokenizerPtr whitespace_pretokenizer();

/// Optionally a space in front of each piece, optionally GPT-2's split; then each byte becomes a printable character.
/// Source: Radford et al. 2019, section 2.2.
Result<PreTokenizerPtr> byte_level_pretokenizer(bool add_prefix_space, bool use_regex);

enum class PrependScheme { first, always, never };

/// Spaces become `replacement`, which is also put in front (of the input, of each piece, or of none); with `split`
/// every piece begins at one.
PreTokenizerPtr metaspace_pretokenizer(std::string replacement, PrependScheme scheme, bool split);

}  // namespace decant::tokenizer
