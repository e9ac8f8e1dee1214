// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/export.h"
#include "decant/tokenizer.h"

namespace decant {

/// Text of a generation as it comes: whole UTF-8 characters, ended by stop strings, which may lie across tokens and are
/// never part of the text. Not thread-safe; the tokenizer must outlive it.
class DECANT_API TextStream {
 public:
  /// context: ids before the first generated one (the prompt). stops: non-empty strings; none is fine.
  TextStream(const Tokenizer& tokenizer, std::span<const int32_t> context, std::vector<std::string> stops);

  /// Appends a token; returns the text that may be shown now. Text that could be the beginning of a stop string is held
  /// back until it is certain. The view is valid until the next call.
  std::string_view push(int32_t id);

  /// The end of the generation: what was held back. Empty after a stop string was met.
  std::string_view finish();

  /// Whether a stop string was met; push() returns nothing from then on.
  bool stopped() const noexcept { return stopped_; }

 private:
  DECANT_LOCAL std::string_view release(std::string_view text, bool last);

  std::unique_ptr<Tokenizer::Stream> stream_;
  std::vector<std::string> stops_;
  std::string held_, out_;
  bool stopped_ = false;
};

}  // namespace decant
