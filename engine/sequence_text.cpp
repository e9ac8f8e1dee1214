// SPDX-License-Identifier: Apache-2.0
#include "engine/sequence_text.h"

#include <algorithm>
#include <new>
#include <utility>

namespace decant {

namespace {

/// Tokens before a generation that may still bear on its text: a character in pieces, a run of byte tokens. All of them
/// would cost the first token of a long text's next turn milliseconds.
constexpr size_t kContext = 256;

}  // namespace

SequenceText& SequenceText::operator=(const SequenceText& other) {
  tokenizer_ = other.tokenizer_;
  stop_strings_ = other.stop_strings_;
  n_before_ = other.n_before_;
  stream_.reset();
  staged_.reset();
  text_.clear();
  bytes_.clear();
  return *this;
}

void SequenceText::begin(const Tokenizer* tokenizer, std::vector<std::string> stop_strings, int n_before) {
  tokenizer_ = tokenizer;
  stop_strings_ = std::move(stop_strings);
  n_before_ = n_before;
  stream_.reset();
  staged_.reset();
}

void SequenceText::make_stream(std::span<const int32_t> ids, int ids_begin) {
  const auto n_context = static_cast<size_t>(std::clamp<int64_t>(n_before_ - ids_begin, 0, std::ssize(ids)));
  const size_t n_looked_at = std::min(n_context, kContext);
  TextStream stream(*tokenizer_, ids.subspan(n_context - n_looked_at, n_looked_at), stop_strings_);
  for (const int32_t id : ids.subspan(n_context)) stream.push(id);
  stream_ = std::move(stream);
  staged_.reset();
}

void SequenceText::add(int32_t id, bool last, std::span<const int32_t> ids, int ids_begin) {
  const Staged wanted{id, last};
  if (stream_ && staged_ == wanted) return;
  if (!stream_ || staged_) make_stream(ids, ids_begin);
  TextStream stream = std::move(*stream_);
  stream_.reset();  // until all went well
  bytes_.clear();
  if (!tokenizer_->is_special(id)) tokenizer_->append_bytes(id, bytes_);
  text_ = stream.push(id);
  if (last) text_ += stream.finish();
  stream_ = std::move(stream);
  staged_ = wanted;
}

void SequenceText::finish(std::span<const int32_t> ids, int ids_begin) noexcept {
  text_.clear();
  bytes_.clear();
  if (tokenizer_ == nullptr) return;
  try {
    if (!stream_ || staged_) make_stream(ids, ids_begin);
    text_ = stream_->finish();
  } catch (const std::bad_alloc&) {
  }
  stream_.reset();
}

}  // namespace decant
