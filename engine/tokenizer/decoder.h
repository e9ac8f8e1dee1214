// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/regex.h"

namespace decant::tokenizer {

class DecoderChain;

/// Where a stage's output goes: the next stage, or the text.
class DecoderSink {
 public:
  DecoderSink(DecoderChain& chain, size_t next, std::string& out) : chain_(chain), next_(next), out_(out) {}
  /// A part of a token, whole characters; last: the token ends with it.
  void operator()(std::string_view text, bool last) const;

 private:
  DecoderChain& chain_;
  size_t next_;
  std::string& out_;
};

/// One step from tokens to text. It takes the tokens in parts, as they come, and hands on what no later token can
/// change; what it has to wait with is its state. So the text of a list of ids and the text of a stream are the same by
/// construction.
class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual std::unique_ptr<DecoderStage> clone() const = 0;  ///< with the state
  virtual void feed(std::string_view text, bool last, const DecoderSink& next) = 0;
  /// Appends a token's bytes, where this is the stage that makes them: they may be a part of a character.
  virtual bool append_bytes(std::string_view, std::string&) const { return false; }
  /// No token follows: hands on the rest and starts anew.
  virtual void finish(const DecoderSink& next) = 0;
};
using DecoderStagePtr = std::unique_ptr<DecoderStage>;

/// All stages, first to last.
class DecoderChain {
 public:
  DecoderChain() = default;
  DecoderChain(const DecoderChain& other);
  DecoderChain(DecoderChain&&) noexcept = default;
  DecoderChain& operator=(DecoderChain&&) noexcept = default;

  void add(DecoderStagePtr stage) { stages_.push_back(std::move(stage)); }
  /// Appends to `out` the text that is certain once this token is known.
  void push(std::string_view token, std::string& out) { DecoderSink(*this, 0, out)(token, true); }
  /// Appends the bytes of a token by itself where a stage of the chain makes bytes of it.
  bool append_bytes(std::string_view token, std::string& bytes) const;
  /// Appends the rest. The chain starts anew.
  void finish(std::string& out);

 private:
  friend class DecoderSink;
  std::vector<DecoderStagePtr> stages_;
};

DecoderStagePtr
byte_level_decoder();  ///< characters → bytes → text; broken bytes become U+FFFD, one for each maximal subpart
DecoderStagePtr byte_fallback_decoder();  ///< a run of <0xNN> → its text, or if that is no UTF-8 one U+FFFD for each
DecoderStagePtr fuse_decoder();           ///< all tokens → one
DecoderStagePtr join_decoder(std::string between);
DecoderStagePtr strip_decoder(char32_t content, size_t start,
                              size_t stop);  ///< up to so many characters off each token's ends
DecoderStagePtr replace_decoder(Pattern pattern, std::string content);  ///< within each token
DecoderStagePtr metaspace_decoder(std::string replacement, PrependScheme scheme);

}  // namespace decant::tokenizer
