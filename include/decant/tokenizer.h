// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/export.h"
#include "decant/result.h"

namespace decant {

/// What encode() adds to a text.
struct EncodeOptions {
  /// Add the special tokens that the model's post-processor adds (a begin token, for instance). Special tokens that are
  /// written in the text are recognised in either case.
  bool add_special = true;
};

/// Text ↔ token ids, exactly as the model's own tokenizer does it. Immutable: any number of threads may share one.
class DECANT_API Tokenizer {
 public:
  virtual ~Tokenizer();

  /// Ids of a text of UTF-8. Bytes that are not UTF-8 are read as U+FFFD. `unsupported` only if the text is longer than
  /// 2^30 bytes.
  virtual Result<std::vector<int32_t>> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  /// Text of some ids; ids outside the vocabulary are skipped; byte sequences that are not UTF-8 become U+FFFD.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;

  /// Number of ids: one more than the largest.
  virtual int32_t vocab_size() const noexcept = 0;

  /// The vocabulary entry as it is written in the model's file, e.g. "Ġthe" or "▁the" or "<0x0A>"; empty for an id that
  /// has none.
  virtual std::string_view entry(int32_t id) const noexcept = 0;

  /// Appends the bytes that a token adds to a text, which may be a part of a character; a space that only the first
  /// token of a text loses is there. Nothing for an id that has none.
  virtual void append_bytes(int32_t id, std::string& bytes) const = 0;

  /// Id of a vocabulary entry or added token, or -1.
  virtual int32_t id_of(std::string_view entry) const noexcept = 0;

  /// Of memory, about.
  virtual size_t size_bytes() const noexcept = 0;

  /// Whether the id is a special token (one that decode() leaves out by default).
  virtual bool is_special(int32_t id) const noexcept = 0;

  /// One text, growing by a token at a time.
  class DECANT_API Stream {
   public:
    virtual ~Stream();
    /// Appends a token and returns the text that is now certain: whole UTF-8 characters only, never one that a later
    /// token could still change. The view is valid until the next call.
    virtual std::string_view push(int32_t id) = 0;
    /// The end: what was held back (incomplete bytes become U+FFFD). The stream starts anew after it.
    virtual std::string_view finish() = 0;
  };

  /// A stream whose texts, joined, equal decode(context + ids) with the text of `context` taken off its front: the
  /// first token after a prompt keeps its space. `context` may be empty: then they equal decode(ids). The tokenizer
  /// must outlive it.
  virtual std::unique_ptr<Stream> stream(std::span<const int32_t> context, bool skip_special = true) const = 0;
};

}  // namespace decant
