// SPDX-License-Identifier: Apache-2.0
#include "tools/token_printer.h"

#include <utility>

#include "decant/detail/format.h"

#include "tools/generation_log.h"

namespace decant::tools {

TokenPrinter::TokenPrinter(Output& out, const Tokenizer* tokenizer, std::span<const int32_t> prompt,
                           std::vector<std::string> stops, bool json)
    : out_(out), json_(json) {
  if (tokenizer != nullptr) stream_.emplace(*tokenizer, prompt, std::move(stops));
}

void TokenPrinter::token(const TokenEvent& event, double t_ms) {
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

void TokenPrinter::finish() {
  const std::string rest(stream_ ? stream_->finish() : std::string_view());
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
