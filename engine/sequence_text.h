// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decant/text_stream.h"
#include "decant/tokenizer.h"

namespace decant {

/// Text of a sequence's generated tokens. It follows from the ids, so it may always be made anew: after a fork, a
/// truncation, or where memory ran out.
class SequenceText {
 public:
  SequenceText() = default;
  SequenceText(const SequenceText& other) { *this = other; }
  /// What it is made from; the copy makes its own.
  SequenceText& operator=(const SequenceText& other);
  SequenceText(SequenceText&&) noexcept = default;
  SequenceText& operator=(SequenceText&&) noexcept = default;

  /// A generation begins after n_before tokens. tokenizer: null for no text.
  void begin(const Tokenizer* tokenizer, std::vector<std::string> stop_strings, int n_before);
  bool wanted() const noexcept { return tokenizer_ != nullptr; }

  /// The text that a token makes certain, were it the next one; with `last`, what is left, too. ids: the sequence's
  /// own, from position ids_begin on. The same again costs nothing, another one in its place makes the text anew.
  /// Throws std::bad_alloc; nothing is lost by that.
  void add(int32_t id, bool last, std::span<const int32_t> ids, int ids_begin);
  /// The generation ends without a further token: what is left, or nothing where memory runs out.
  void finish(std::span<const int32_t> ids, int ids_begin) noexcept;
  /// The token that was added has become one of the sequence's.
  void commit() noexcept { staged_.reset(); }
  /// Tokens of the sequence have gone.
  void forget() noexcept { stream_.reset(); }

  bool stopped() const noexcept { return stream_ && stream_->stopped(); }
  /// Of the last add() or finish().
  const std::string& text() const noexcept { return text_; }
  const std::string& bytes() const noexcept { return bytes_; }

 private:
  struct Staged {
    int32_t id;
    bool last;
    bool operator==(const Staged&) const = default;
  };
  void make_stream(std::span<const int32_t> ids, int ids_begin);

  const Tokenizer* tokenizer_ = nullptr;
  std::vector<std::string> stop_strings_;
  int n_before_ = 0;
  std::optional<TextStream> stream_;  ///< after all of the sequence's ids and, where there is one, the staged one
  std::optional<Staged> staged_;      ///< added, but not yet the sequence's
  std::string text_, bytes_;
};

}  // namespace decant
