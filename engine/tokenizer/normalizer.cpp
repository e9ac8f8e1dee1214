// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include <utf8proc.h>

#include "decant/detail/format.h"

#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

// NFKC makes at most 11 bytes of one, a replaced space 3; a file that asks for more is hostile.
constexpr size_t kMaxGrowth = 64;
constexpr size_t kFreeGrowth = size_t{1} << 20;

class Unicode final : public Normalizer {
 public:
  explicit Unicode(UnicodeForm form)
      : compatibility_(form == UnicodeForm::nfkc || form == UnicodeForm::nfkd),
        compose_(form == UnicodeForm::nfc || form == UnicodeForm::nfkc) {}

  Status apply(std::string& text) const override {
    if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; })) return {};
    std::vector<utf8proc_int32_t> code_points = decompose(text);
    auto n = static_cast<utf8proc_ssize_t>(code_points.size());
    if (compose_)
      n = utf8proc_normalize_utf32(code_points.data(), n,
                                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    text.clear();
    for (utf8proc_ssize_t i = 0; i < n; ++i)
      append_utf8(text, static_cast<char32_t>(code_points[static_cast<size_t>(i)]));
    return {};
  }

 private:
  /// With its own ordering of marks: utf8proc_decompose() needs time quadratic in the length of a run of them.
  std::vector<utf8proc_int32_t> decompose(std::string_view text) const {
    const auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility_ ? UTF8PROC_COMPAT : 0));
    std::vector<utf8proc_int32_t> out;
    out.reserve(text.size());
    std::vector<std::pair<int, utf8proc_int32_t>> marks;  // combining class and character of the current run
    const auto flush = [&] {
      std::stable_sort(marks.begin(), marks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (const auto& mark : marks) out.push_back(mark.second);
      marks.clear();
    };
    for (size_t at = 0; at < text.size();) {
      const Utf8Step step = utf8_step(text.substr(at));
      at += step.bytes;
      const auto c = static_cast<utf8proc_int32_t>(step.code_point);
      utf8proc_int32_t parts[32];  // the longest decomposition has 18
      int boundary = 0;
      utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, options, &boundary);
      if (n < 0 || n > 32) {
        parts[0] = c;
        n = 1;
      }
      for (utf8proc_ssize_t i = 0; i < n; ++i) {
        const int combining = utf8proc_get_property(parts[i])->combining_class;
        if (combining != 0) {
          marks.emplace_back(combining, parts[i]);
          continue;
        }
        flush();
        out.push_back(parts[i]);
      }
    }
    flush();
    return out;
  }

  bool compatibility_, compose_;
};

class Lowercase final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const Utf8Step step = utf8_step(std::string_view(text).substr(at));
      at += step.bytes;
      if (step.code_point == 0x130) {  // the one letter whose lower case, whatever stands around it, is two characters
        out += "i\xCC\x87";
      } else {
        append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(step.code_point))));
      }
    }
    text = std::move(out);
    return {};
  }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(std::string& text) const override {
    size_t first = std::string::npos, last_end = 0;  // of what isn't white space
    for (size_t at = 0; at < text.size();) {
      const Utf8Step step = utf8_step(std::string_view(text).substr(at));
      if (!is_white_space(step.code_point)) {
        first = std::min(first, at);
        last_end = at + step.bytes;
      }
      at += step.bytes;
    }
    if (first == std::string::npos) {
      if (left_ || right_) text.clear();
      return {};
    }
    if (right_) text.resize(last_end);
    if (left_) text.erase(0, first);
    return {};
  }

 private:
  bool left_, right_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(std::string& text) const override { return replace_all(pattern_, content_, text); }

 private:
  Pattern pattern_;
  std::string content_;
};

Error grown(size_t from, size_t to) {
  return Error{ErrorCode::unsupported,
               detail::format("tokenizer: a text of {} bytes grows to {} when normalized", from, to)};
}

}  // namespace

NormalizerPtr unicode_normalizer(UnicodeForm form) { return std::make_unique<Unicode>(form); }
NormalizerPtr lowercase_normalizer() { return std::make_unique<Lowercase>(); }
NormalizerPtr strip_normalizer(bool left, bool right) { return std::make_unique<Strip>(left, right); }
NormalizerPtr prepend_normalizer(std::string prefix) { return std::make_unique<Prepend>(std::move(prefix)); }
NormalizerPtr replace_normalizer(Pattern pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}

Status normalize(const Normalizers& normalizers, std::string& text) {
  const size_t before = text.size();
  for (const NormalizerPtr& normalizer : normalizers) {
    if (Status status = normalizer->apply(text); !status) return status;
    if (text.size() > before * kMaxGrowth + kFreeGrowth) return grown(before, text.size());
  }
  return {};
}

Status replace_all(const Pattern& pattern, std::string_view content, std::string& text) {
  std::vector<Match> matches;
  if (Status status = pattern.find_all(text, matches); !status) return status;
  if (matches.empty()) return {};
  const size_t limit = text.size() * kMaxGrowth + kFreeGrowth;
  if (content.size() > limit / matches.size()) return grown(text.size(), content.size() * matches.size());
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (const Match& match : matches) {
    out.append(text, at, match.begin - at);
    out += content;
    at = match.end;
  }
  out.append(text, at);
  text = std::move(out);
  return {};
}

}  // namespace decant::tokenizer
