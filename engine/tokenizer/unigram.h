// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/tokenizer/model.h"

namespace decant::tokenizer {

/// SentencePiece's Unigram: of all ways to write a word as entries, the one whose scores have the greatest sum.
/// Characters that no entry covers cost more than any entry; neighbouring ones are one unknown token, or their bytes'
/// tokens. Source: Kudo 2018 (arXiv:1804.10959), section 3.1.
class UnigramModel final : public Model {
 public:
  /// scores: by id, one for each id, no NaN; unk: or -1.
  UnigramModel(Vocabulary vocabulary, std::vector<double> scores, int32_t unk, bool byte_fallback);

  /// `bad_format` if the word needs an unknown token and the model has none.
  Status tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const override;
  size_t size_bytes() const noexcept override {
    return vocabulary_.size_bytes() + sorted_.capacity() * sizeof(Entry) + scores_.capacity() * sizeof(double);
  }

 private:
  Status find_best_path(std::string_view word, std::vector<PathNode>& path) const;
  void put_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  struct Entry {
    std::string_view text;
    int32_t id;
  };
  std::vector<Entry> sorted_;  // by text: the entries with a common prefix are neighbours
  std::vector<double> scores_;
  std::array<int32_t, 256> byte_ids_{};
  int32_t unk_;
  bool byte_fallback_;
  double unk_score_ = 0.0;
};

}  // namespace decant::tokenizer
