// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/tokenizer/model.h"

namespace decant::tokenizer {

/// SentencePiece's BPE, as GGUF's "llama" has it: no list of merges; of all neighbours whose joined text is an entry
/// the one with the best score merges first, and of equal scores the leftmost. What is no entry in the end becomes its
/// bytes' tokens, or the unknown token.
/// Source: Kudo & Richardson 2018 (arXiv:1808.06226).
class SentencePieceBpe final : public Model {
 public:
  /// pieces: the entries that text may become (control, unknown and byte tokens are none); scores: by id, one for each
  /// id of the vocabulary, no NaN; unk: or -1.
  SentencePieceBpe(Vocabulary vocabulary, Vocabulary pieces, const std::vector<float>& scores, int32_t unk);

  Status tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const override;
  size_t size_bytes() const noexcept override {
    return vocabulary_.size_bytes() + pieces_.size_bytes() + ranks_.capacity() * sizeof(uint32_t);
  }

 private:
  Vocabulary pieces_;
  std::vector<uint32_t> ranks_;  // by id: how many different scores are better
  std::array<int32_t, 256> byte_ids_{};
  int32_t unk_;
};

}  // namespace decant::tokenizer
