// SPDX-License-Identifier: Apache-2.0
#include "tools/token_printer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "decant/detail/format.h"

#include "tools/generation_log.h"

namespace decant::tools {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD: what incomplete bytes become

/// How many of the last tokens may be bytes that are no character yet, or never.
size_t n_broken_off(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  constexpr size_t kMostBytes = 32, kContext = 64;
  const std::span<const int32_t> last = ids.last(std::min(ids.size(), kContext));
  size_t n = 0;
  while (n < std::min(last.size(), kMostBytes) && tokenizer.decode(last.first(last.size() - n)).ends_with(kReplacement))
    ++n;
  return n;
}

}  // namespace

TokenPrinter::TokenPrinter(Output& out, const Tokenizer* tokenizer, std::span<const int32_t> before, bool resumed,
                           std::vector<std::string> stops, bool json)
    : out_(out), json_(json) {
  if (tokenizer == nullptr) return;
  const size_t n_pushed = resumed ? n_broken_off(*tokenizer, before) : 0;
  stream_.emplace(*tokenizer, before.first(before.size() - n_pushed), std::move(stops));
  for (const int32_t id : before.last(n_pushed)) stream_->push(id);  // what is certain of it was shown
}

void TokenPrinter::token(const Piece& event, double t_ms) {
  const bool is_end = event.finish == FinishReason::stop;
  std::string text;
  if (!is_end && stream_) text = stream_->push(event.token_id);
  if (!json_) {
    out_.write(stream_ ? text : detail::format("{}\n", event.token_id));
    return;
  }
  if (pending_) show(*pending_);
  pending_ = Line{event.token_id, std::move(text), event.logprob, t_ms};
}

void TokenPrinter::finish(bool goes_on) {
  std::string_view rest = stream_ ? stream_->finish() : std::string_view();
  while (goes_on && rest.ends_with(kReplacement)) rest.remove_suffix(kReplacement.size());
  if (!json_) {
    out_.write(rest);
    if (out_.is_terminal() && !out_.at_line_start()) out_.write("\n");
  } else if (pending_) {
    pending_->text += rest;
    show(*pending_);
    pending_.reset();
  }
}

void TokenPrinter::show(const Line& line) { out_.write(token_json(line.id, line.text, line.logprob, line.t_ms)); }

}  // namespace decant::tools
