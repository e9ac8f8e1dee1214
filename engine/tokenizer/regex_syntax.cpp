// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>

#include "decant/detail/format.h"

#include "engine/tokenizer/regex.h"

namespace decant::tokenizer {

namespace {

constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kHex = "0-9a-fA-F";

// Long names of general categories; PCRE2 knows the short ones only.
constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kCategories = {{{"Letter", "L"},
                                                                                       {"Mark", "M"},
                                                                                       {"Number", "N"},
                                                                                       {"Punctuation", "P"},
                                                                                       {"Punct", "P"},
                                                                                       {"Symbol", "S"},
                                                                                       {"Separator", "Z"},
                                                                                       {"Digit", "Nd"}}};

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Rewriter {
 public:
  Rewriter(std::string_view pattern, bool scripts) : in_(pattern), scripts_(scripts) {}

  Result<std::string> run() {
    while (at_ < in_.size() && !problem_) {
      if (in_[at_] == '\\') {
        escape();
      } else if (in_class_) {
        class_char();
      } else {
        plain_char();
      }
    }
    if (problem_) return Error{ErrorCode::unsupported, detail::format("regular expression '{}': {}", in_, problem_)};
    return std::move(out_);
  }

 private:
  char peek(size_t ahead) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void copy(size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
  }
  void replace(size_t n, std::string_view with) {
    out_ += with;
    at_ += n;
  }
  /// A set in place of a two-byte escape.
  void set(std::string_view members, bool negated) {
    if (!in_class_) {
      out_ += negated ? "[^" : "[";
      out_ += members;
      out_ += ']';
    } else if (!negated) {
      out_ += members;
    } else {
      problem_ = "a negated class within a character class is not supported";
    }
    at_ += 2;
  }

  void escape() {
    switch (peek(1)) {
      case 's':
        return set(kSpace, false);
      case 'S':
        return in_class_ ? set(kNotSpace, false) : set(kSpace, true);
      case 'w':
        return set(kWord, false);
      case 'W':
        return set(kWord, true);
      case 'h':
        return set(kHex, false);
      case 'H':
        return set(kHex, true);
      case 'p':
      case 'P':
        return property();
      case 'u':
        if (is_hex(peek(2)) && is_hex(peek(3)) && is_hex(peek(4)) && is_hex(peek(5))) {
          out_ += "\\x{";
          out_ += in_.substr(at_ + 2, 4);
          out_ += '}';
          at_ += 6;
          return;
        }
        return copy(2);
      default:
        return copy(2);
    }
  }

  void property() {
    const size_t close = peek(2) == '{' ? in_.find('}', at_) : std::string_view::npos;
    if (close == std::string_view::npos) return copy(2);
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    const bool caret = !name.empty() && name[0] == '^';
    if (caret) name.remove_prefix(1);
    out_ += (peek(1) == 'P') != caret ? "\\P{" : "\\p{";
    for (const auto& [longer, shorter] : kCategories)
      if (name == longer) name = shorter;
    if (scripts_ && name.size() > 2) out_ += "sc:";
    out_ += name;
    out_ += '}';
    at_ = close + 1;
  }

  void class_char() {
    if (in_[at_] == ']' && at_ != class_first_) {
      in_class_ = false;
      return copy(1);
    }
    if (in_[at_] == '&' && peek(1) == '&') {
      problem_ = "intersections of character classes are not supported";
      return;
    }
    if (in_[at_] == '[') {
      const size_t close = peek(1) == ':' ? in_.find(":]", at_ + 2) : std::string_view::npos;
      if (close == std::string_view::npos) {
        problem_ = "nested character classes are not supported";
        return;
      }
      return copy(close + 2 - at_);
    }
    copy(1);
  }

  void plain_char() {
    if (in_[at_] == '[') {
      in_class_ = true;
      copy(1);
      if (peek(0) == '^') copy(1);
      class_first_ = at_;
      return;
    }
    if (in_[at_] == '(' && peek(1) == '*') {
      problem_ = "verbs are not supported";
      return;
    }
    if (in_[at_] == '(' && peek(1) == '?') return group_options();
    if (in_[at_] == '{' && peek(1) == ',' && is_digit(peek(2))) return replace(2, "{0,");
    copy(1);
  }

  /// Oniguruma's (?m) lets a dot match a newline: PCRE2's (?s).
  void group_options() {
    size_t end = at_ + 2;
    while (end < in_.size() && (in_[end] == 'i' || in_[end] == 'm' || in_[end] == 'x' || in_[end] == '-')) ++end;
    if (end == in_.size() || (in_[end] != ':' && in_[end] != ')')) return copy(2);
    for (; at_ <= end; ++at_) out_ += in_[at_] == 'm' ? 's' : in_[at_];
  }

  std::string_view in_;
  bool scripts_;
  std::string out_;
  size_t at_ = 0;
  size_t class_first_ = 0;  // where a ']' is a member of the class
  bool in_class_ = false;
  const char* problem_ = nullptr;
};

}  // namespace

Result<std::string> rewrite_onig_regex(std::string_view pattern, bool scripts) {
  return Rewriter(pattern, scripts).run();
}

}  // namespace decant::tokenizer
