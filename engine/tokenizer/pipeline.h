// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "decant/tokenizer.h"

#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/model.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pretokenizer.h"

namespace decant::tokenizer {

/// What a tokenizer consists of, in the order text goes through it.
struct PipelineParts {
  AddedTokens added;
  Normalizers normalizers;
  PreTokenizers pretokenizers;
  std::unique_ptr<const Model> model;   ///< not null
  std::vector<int32_t> prefix, suffix;  ///< special tokens around the text
  DecoderChain decoder;
};

/// A tokenizer as a row of steps: added tokens are cut out of the text, the rest is normalized, cut into words, and the
/// words become ids.
class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts);

  Result<std::vector<int32_t>> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  int32_t vocab_size() const noexcept override { return vocab_size_; }
  std::string_view entry(int32_t id) const noexcept override;
  void append_bytes(int32_t id, std::string& bytes) const override;
  size_t size_bytes() const noexcept override;
  int32_t id_of(std::string_view entry) const noexcept override;
  bool is_special(int32_t id) const noexcept override;
  std::unique_ptr<Stream> stream(std::span<const int32_t> context, bool skip_special) const override;

 private:
  class PieceStream;
  Status encode_text(std::string text, bool from_start, Scratch& scratch, std::vector<int32_t>& ids) const;
  Status encode_words(PreTokens tokens, Scratch& scratch, std::vector<int32_t>& ids) const;
  void decode_id(int32_t id, bool skip_special, DecoderChain& chain, std::string& out) const;
  const AddedToken* added(int32_t id) const noexcept;

  PipelineParts parts_;
  std::unordered_map<int32_t, size_t> added_by_id_;
  std::unordered_map<std::string_view, size_t> added_by_content_;
  int32_t vocab_size_ = 0;
};

}  // namespace decant::tokenizer
