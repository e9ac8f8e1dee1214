// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decant/result.h"

namespace decant::tokenizer {

struct Match {
  size_t begin, end;
};

/// A regular expression as tokenizer.json writes it: Oniguruma's syntax as far as PCRE2 shares it. Where the two differ
/// the pattern is rewritten (\s is White_Space, \w that of UTS 18, \h a hex digit, $ ends a line, \p{Han} a script);
/// nested and intersected character classes are `unsupported`. Immutable, safe to use from many threads.
class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);

  /// Appends every match of a text of valid UTF-8, left to right, non-overlapping; an empty match right after a match
  /// is none. `unsupported` if the matcher gives up: patterns that backtrack without end are stopped.
  Status find_all(std::string_view text, std::vector<Match>& out) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

/// Oniguruma's syntax → PCRE2's. scripts: write \p{Name} as a script.
Result<std::string> rewrite_onig_regex(std::string_view pattern, bool scripts);

/// What a component of tokenizer.json looks for: a string or a regular expression.
class Pattern {
 public:
  static Result<Pattern> literal(std::string text);
  static Result<Pattern> regex(std::string_view pattern);

  Status find_all(std::string_view text, std::vector<Match>& out) const;

  /// The string, or null for a regular expression.
  const std::string* literal_text() const noexcept { return is_regex_ ? nullptr : &literal_; }

 private:
  std::string literal_;
  Regex regex_;
  bool is_regex_ = false;
};

}  // namespace decant::tokenizer
