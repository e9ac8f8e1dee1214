// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <new>
#include <utility>

#include <pcre2.h>

#include "decant/detail/format.h"

namespace decant::tokenizer {

namespace {

// The longest patterns of published tokenizers have some 1,000 bytes.
constexpr size_t kMaxPatternBytes = 16384;
// Steps of one match and KiB of backtracking memory: a run of a megabyte in a repeated group passes, (a*)*b doesn't.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 131072;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using CodePtr = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct Compiled {
  CodePtr code;
  Error error;
};

Compiled compile_pcre2(const std::string& pattern) {
  CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_bsr(context.get(), PCRE2_BSR_UNICODE);
  int code = 0;
  PCRE2_SIZE at = 0;
  CodePtr compiled(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                                 context.get()));
  if (compiled) return {std::move(compiled), {}};
  if (code == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  return {nullptr, Error{ErrorCode::unsupported,
                         detail::format("regular expression '{}': {} (at byte {})", pattern, message_of(code), at)}};
}

}  // namespace

struct Regex::Code {
  CodePtr code;
  MatchContext limits;
};

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes)
    return Error{ErrorCode::unsupported, detail::format("regular expression of {} bytes (at most {} are read)",
                                                        pattern.size(), kMaxPatternBytes)};
  Compiled compiled;
  for (const bool scripts : {true, false}) {
    Result<std::string> rewritten = rewrite_onig_regex(pattern, scripts);
    if (!rewritten) return rewritten.error();
    compiled = compile_pcre2(*rewritten);
    if (compiled.code) break;
  }
  if (!compiled.code) return std::move(compiled.error);

  pcre2_jit_compile(compiled.code.get(), PCRE2_JIT_COMPLETE);  // Without it the interpreter gives the same matches.
  auto code = std::make_shared<Code>();
  code->code = std::move(compiled.code);
  code->limits.reset(pcre2_match_context_create(nullptr));
  if (!code->limits) throw std::bad_alloc();
  pcre2_set_match_limit(code->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(code->limits.get(), kHeapLimitKib);
  Regex regex;
  regex.code_ = std::move(code);
  return regex;
}

Status Regex::find_all(std::string_view text, std::vector<Match>& out) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  if (!data) throw std::bad_alloc();
  const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data() == nullptr ? "" : text.data());
  bool matched_before = false;
  size_t last_end = 0;
  for (size_t at = 0; at <= text.size();) {
    int rc =
        pcre2_match(code_->code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), code_->limits.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)  // the interpreter keeps its stack on the heap
      rc = pcre2_match(code_->code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(),
                       code_->limits.get());
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    if (rc < 0)
      return Error{ErrorCode::unsupported,
                   detail::format("regular expression gave up on a text of {} bytes: {}", text.size(), message_of(rc))};
    const PCRE2_SIZE* const found = pcre2_get_ovector_pointer(data.get());
    const size_t begin = found[0], end = found[1];
    // \K in a lookaround can put the start behind the end or before where the search began.
    if (begin > end || begin < at)
      return Error{ErrorCode::unsupported, "regular expression moves the start of its match"};
    if (begin == end && matched_before && last_end == end) {
      ++at;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
      continue;
    }
    out.push_back({begin, end});
    matched_before = true;
    at = last_end = end;
  }
  return {};
}

Result<Pattern> Pattern::literal(std::string text) {
  if (text.empty()) return regex("");
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Result<Pattern> Pattern::regex(std::string_view text) {
  Result<Regex> compiled = Regex::compile(text);
  if (!compiled) return compiled.error();
  Pattern pattern;
  pattern.regex_ = std::move(*compiled);
  pattern.is_regex_ = true;
  return pattern;
}

Status Pattern::find_all(std::string_view text, std::vector<Match>& out) const {
  if (is_regex_) return regex_.find_all(text, out);
  for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size()))
    out.push_back({at, at + literal_.size()});
  return {};
}

}  // namespace decant::tokenizer
