// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "decant/result.h"

#include "engine/tokenizer/normalizer.h"

namespace decant::tokenizer {

/// A token that is found in the text before any model sees it.
struct AddedToken {
  int32_t id = -1;
  std::string content;       ///< not empty
  bool special = false;      ///< decode() leaves it out by default
  bool normalized = false;   ///< looked for after normalization, and in its normalized spelling
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool single_word = false;  ///< only where no word character touches it
};

/// A stretch of text: a token, or text for the model (id -1).
struct TextSection {
  size_t begin, end;
  int32_t id;
};

/// Finds added tokens in text: leftmost first, of those that begin at one place the longest. Immutable once built.
class AddedTokens {
 public:
  AddedTokens() = default;
  static Result<AddedTokens> make(std::vector<AddedToken> tokens, const Normalizers& normalizers);

  const std::vector<AddedToken>& all() const noexcept { return tokens_; }

  /// Sections that cover the text; `normalized` says which of the two kinds of token is looked for.
  void split(std::string_view text, bool normalized, std::vector<TextSection>& out) const;

 private:
  struct Trie {
    struct Node {
      int32_t token = -1;  ///< index of the token that ends here
    };
    std::vector<Node> nodes;
    std::unordered_map<uint64_t, uint32_t> edges;  ///< node · 256 + byte → node
    void add(std::string_view text, int32_t token);
    /// Length of the longest token at the front of the text, or 0.
    size_t match(std::string_view text, int32_t& token) const;
    bool begins[256] = {};
  };
  std::vector<AddedToken> tokens_;
  Trie raw_, normalized_;
};

}  // namespace decant::tokenizer
