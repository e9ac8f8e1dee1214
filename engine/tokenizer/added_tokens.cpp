// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

/// The character that ends at `end`, and where it begins.
char32_t character_before(std::string_view text, size_t end, size_t& begin) {
  begin = end - 1;
  while (begin > 0 && is_continuation(text[begin])) --begin;
  return utf8_step(text.substr(begin)).code_point;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t before = 0;
  if (begin > 0 && is_word(character_before(text, begin, before))) return true;
  return end < text.size() && is_word(utf8_step(text.substr(end)).code_point);
}

size_t strip_left(std::string_view text, size_t begin) {
  for (size_t before = 0; begin > 0 && is_white_space(character_before(text, begin, before));) begin = before;
  return begin;
}

size_t strip_right(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Step step = utf8_step(text.substr(end));
    if (!is_white_space(step.code_point)) break;
    end += step.bytes;
  }
  return end;
}

}  // namespace

void AddedTokens::Trie::add(std::string_view text, int32_t token) {
  if (text.empty()) return;
  if (nodes.empty()) nodes.emplace_back();
  begins[static_cast<uint8_t>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto [edge, is_new] =
        edges.try_emplace(uint64_t{node} * 256 + static_cast<uint8_t>(c), static_cast<uint32_t>(nodes.size()));
    if (is_new) nodes.emplace_back();
    node = edge->second;
  }
  if (nodes[node].token < 0) nodes[node].token = token;
}

size_t AddedTokens::Trie::match(std::string_view text, int32_t& token) const {
  uint32_t node = 0;
  size_t longest = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto edge = edges.find(uint64_t{node} * 256 + static_cast<uint8_t>(text[i]));
    if (edge == edges.end()) break;
    node = edge->second;
    if (nodes[node].token >= 0) {
      token = nodes[node].token;
      longest = i + 1;
    }
  }
  return longest;
}

Result<AddedTokens> AddedTokens::make(std::vector<AddedToken> tokens, const Normalizers& normalizers) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    std::string text = token.content;
    if (token.normalized)
      if (Status status = normalize(normalizers, text); !status) return status.error();
    (token.normalized ? added.normalized_ : added.raw_).add(text, static_cast<int32_t>(i));
  }
  return added;
}

void AddedTokens::split(std::string_view text, bool normalized, std::vector<TextSection>& out) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  size_t done = 0;  // everything before is in a section
  for (size_t at = 0; at < text.size() && !trie.nodes.empty();) {
    int32_t index = -1;
    const size_t bytes = trie.begins[static_cast<uint8_t>(text[at])] ? trie.match(text.substr(at), index) : 0;
    if (bytes == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + bytes;
    at = end;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = strip_left(text, begin);
    if (token.rstrip) end = strip_right(text, end);
    begin = std::max(begin, done);  // the token before may have taken this white space
    end = std::max(end, begin);
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

}  // namespace decant::tokenizer
