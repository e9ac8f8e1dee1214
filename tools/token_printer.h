// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decant/engine.h"
#include "decant/text_stream.h"

#include "tools/output.h"

namespace decant::tools {

/// Shows the tokens of one generation on standard output: as text, or as JSON Lines whose texts joined are that text.
class TokenPrinter {
 public:
  /// tokenizer: null for a model without one; then ids are shown instead of text. It must outlive the printer.
  /// before: the tokens that the text begins with. resumed: their text was shown by a finish(goes_on).
  TokenPrinter(Output& out, const Tokenizer* tokenizer, std::span<const int32_t> before, bool resumed,
               std::vector<std::string> stops, bool json);

  /// A token that came. An end id is reported, but is no text.
  void token(const Piece& event, double t_ms);

  /// A stop string was met: the generation is over.
  bool stopped() const noexcept { return stream_ && stream_->stopped(); }

  /// The end: shows what was held back. goes_on: but for a character that was broken off, since another run may go on
  /// with the text and complete it.
  void finish(bool goes_on);

 private:
  struct Line {
    int32_t id;
    std::string text;
    float logprob;
    double t_ms;
  };

  void show(const Line& line);

  Output& out_;
  bool json_;
  std::optional<TextStream> stream_;
  /// The newest line of JSON. It waits for the next token, since text that is held back at the end belongs to it.
  std::optional<Line> pending_;
};

}  // namespace decant::tools
