// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/pretokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

/// A stretch of a piece: a match, or what lies between two.
struct Section {
  size_t begin, end;
  bool is_match;
};

/// Matches → sections that cover [0, size).
void cover(const std::vector<Match>& matches, size_t size, bool invert, std::vector<Section>& out) {
  size_t at = 0;
  for (const Match& match : matches) {
    if (at != match.begin) out.push_back({at, match.begin, invert});
    out.push_back({match.begin, match.end, !invert});
    at = match.end;
  }
  if (at != size) out.push_back({at, size, invert});
}

/// Joins and drops sections as the behaviour says.
void combine(std::vector<Section>& sections, SplitBehavior behavior, std::vector<Section>& out) {
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::isolated:
      out = sections;
      break;
    case SplitBehavior::removed:
      for (const Section& s : sections)
        if (!s.is_match) out.push_back(s);
      break;
    case SplitBehavior::contiguous:
      for (const Section& s : sections) {
        if (s.is_match == previous && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous = s.is_match;
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Section& s : sections) {
        if (s.is_match && !previous && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous = s.is_match;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (auto s = sections.rbegin(); s != sections.rend(); ++s) {
        if (s->is_match && !previous && !out.empty()) {
          out.back().begin = s->begin;
        } else {
          out.push_back(*s);
        }
        previous = s->is_match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
}

/// Cuts every piece; matches_of(text, matches) finds the matches within one.
template <typename MatchesOf>
Status split_pieces(PreTokens& tokens, SplitBehavior behavior, bool invert, MatchesOf&& matches_of) {
  std::vector<Piece> pieces;
  pieces.reserve(tokens.pieces.size());
  std::vector<Match> matches;
  std::vector<Section> sections, combined;
  for (const Piece& piece : tokens.pieces) {
    matches.clear();
    sections.clear();
    combined.clear();
    if (Status status = matches_of(tokens.view(piece), matches); !status) return status;
    cover(matches, piece.end - piece.begin, invert, sections);
    combine(sections, behavior, combined);
    for (const Section& s : combined)
      if (s.begin < s.end) pieces.push_back({piece.begin + s.begin, piece.begin + s.end});
  }
  tokens.pieces = std::move(pieces);
  return {};
}

/// Rewrites every piece: append(piece, is_input_start, text) adds its new text.
template <typename Append>
void rewrite_pieces(PreTokens& tokens, Append&& append) {
  PreTokens out;
  out.text.reserve(tokens.text.size() + tokens.text.size() / 4);
  out.pieces.reserve(tokens.pieces.size());
  out.from_start = tokens.from_start && !tokens.pieces.empty() && tokens.pieces.front().begin == 0;
  bool is_start = out.from_start;
  for (const Piece& piece : tokens.pieces) {
    const size_t begin = out.text.size();
    append(tokens.view(piece), is_start, out.text);
    is_start = false;
    if (out.text.size() > begin) out.pieces.push_back({begin, out.text.size()});
  }
  tokens = std::move(out);
}

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  Status apply(PreTokens& tokens) const override {
    return split_pieces(tokens, behavior_, invert_, [this](std::string_view text, std::vector<Match>& matches) {
      return pattern_.find_all(text, matches);
    });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharacterSplit final : public PreTokenizer {
 public:
  CharacterSplit(bool (*is_member)(char32_t) noexcept, SplitBehavior behavior)
      : is_member_(is_member), behavior_(behavior) {}
  Status apply(PreTokens& tokens) const override {
    return split_pieces(tokens, behavior_, false, [this](std::string_view text, std::vector<Match>& matches) -> Status {
      for (size_t at = 0; at < text.size();) {
        const Utf8Step step = utf8_step(text.substr(at));
        if (is_member_(step.code_point)) matches.push_back({at, at + step.bytes});
        at += step.bytes;
      }
      return {};
    });
  }

 private:
  bool (*is_member_)(char32_t) noexcept;
  SplitBehavior behavior_;
};

class Whitespace final : public PreTokenizer {
 public:
  Status apply(PreTokens& tokens) const override {
    return split_pieces(
        tokens, SplitBehavior::removed, true, [](std::string_view text, std::vector<Match>& matches) -> Status {
          enum class Kind { space, word, other };
          Kind run = Kind::space;
          for (size_t at = 0; at < text.size();) {
            const Utf8Step step = utf8_step(text.substr(at));
            const Kind kind =
                is_word(step.code_point) ? Kind::word : (is_white_space(step.code_point) ? Kind::space : Kind::other);
            if (kind != Kind::space) {
              if (kind == run) {
                matches.back().end = at + step.bytes;
              } else {
                matches.push_back({at, at + step.bytes});
              }
            }
            run = kind;
            at += step.bytes;
          }
          return {};
        });
  }
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(PreTokenizerPtr split, bool add_prefix_space)
      : split_(std::move(split)), add_prefix_space_(add_prefix_space) {
    for (size_t b = 0; b < characters_.size(); ++b)
      append_utf8(characters_[b], byte_level_character(static_cast<uint8_t>(b)));
  }

  Status apply(PreTokens& tokens) const override {
    if (add_prefix_space_)
      rewrite_pieces(tokens, [](std::string_view piece, bool, std::string& text) {
        if (piece.front() != ' ') text += ' ';
        text += piece;
      });
    if (split_)
      if (Status status = split_->apply(tokens); !status) return status;
    rewrite_pieces(tokens, [this](std::string_view piece, bool, std::string& text) {
      for (const char b : piece) text += characters_[static_cast<uint8_t>(b)];
    });
    return {};
  }

 private:
  PreTokenizerPtr split_;
  bool add_prefix_space_;
  std::array<std::string, 256> characters_;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  Status apply(PreTokens& tokens) const override {
    rewrite_pieces(tokens, [this](std::string_view piece, bool is_start, std::string& text) {
      const bool marked = piece.front() == ' ' || piece.starts_with(replacement_);
      if (!marked && (scheme_ == PrependScheme::always || (scheme_ == PrependScheme::first && is_start)))
        text += replacement_;
      for (const char c : piece) {
        if (c == ' ') {
          text += replacement_;
        } else {
          text += c;
        }
      }
    });
    if (!split_) return {};
    return split_pieces(tokens, SplitBehavior::merged_with_next, false,
                        [this](std::string_view text, std::vector<Match>& matches) -> Status {
                          for (size_t at = text.find(replacement_); at != std::string_view::npos;
                               at = text.find(replacement_, at + replacement_.size()))
                            matches.push_back({at, at + replacement_.size()});
                          return {};
                        });
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

}  // namespace

PreTokenizerPtr split_pretokenizer(Pattern pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<Split>(std::move(pattern), behavior, invert);
}

PreTokenizerPtr character_pretokenizer(bool (*is_member)(char32_t) noexcept, SplitBehavior behavior) {
  return std::make_unique<CharacterSplit>(is_member, behavior);
}

PreTokenizerPtr whitespace_pretokenizer() { return std::make_unique<Whitespace>(); }

Result<PreTokenizerPtr> byte_level_pretokenizer(bool add_prefix_space, bool use_regex) {
  PreTokenizerPtr split;
  if (use_regex) {
    Result<Pattern> pattern = Pattern::regex(kGpt2Pattern);
    if (!pattern) return pattern.error();
    split = split_pretokenizer(std::move(*pattern), SplitBehavior::isolated, false);
  }
  return PreTokenizerPtr(std::make_unique<ByteLevel>(std::move(split), add_prefix_space));
}

PreTokenizerPtr metaspace_pretokenizer(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}

}  // namespace decant::tokenizer
