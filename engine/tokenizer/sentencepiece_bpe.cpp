// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/sentencepiece_bpe.h"

#include <algorithm>
#include <functional>

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/merge.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

SentencePieceBpe::SentencePieceBpe(Vocabulary vocabulary, Vocabulary pieces, const std::vector<float>& scores,
                                   int32_t unk)
    : Model(std::move(vocabulary)), pieces_(std::move(pieces)), unk_(unk) {
  std::vector<float> best_first = scores;
  std::sort(best_first.begin(), best_first.end(), std::greater<>());
  best_first.erase(std::unique(best_first.begin(), best_first.end()), best_first.end());
  ranks_.reserve(scores.size());
  for (const float score : scores)
    ranks_.push_back(static_cast<uint32_t>(
        std::lower_bound(best_first.begin(), best_first.end(), score, std::greater<>()) - best_first.begin()));
  for (size_t b = 0; b < byte_ids_.size(); ++b) byte_ids_[b] = vocabulary_.id_of(byte_token(static_cast<uint8_t>(b)));
}

Status SentencePieceBpe::tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  scratch.symbols.clear();
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = utf8_step(word.substr(at)).bytes;
    append_symbol(scratch, pieces_.id_of(word.substr(at, bytes)), at, at + bytes);
    at += bytes;
  }
  merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) -> MergeRule {
    const size_t bytes = right.end - left.begin;
    if (bytes > pieces_.longest_bytes()) return {};
    const int32_t id = pieces_.id_of(word.substr(left.begin, bytes));
    if (id < 0) return {};
    return {ranks_[static_cast<size_t>(id)], id};
  });
  for (const Symbol& symbol : scratch.symbols) {
    if (symbol.begin == symbol.end) continue;
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
      continue;
    }
    for (const char b : word.substr(symbol.begin, symbol.end - symbol.begin)) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(b)];
      if (id >= 0) {
        ids.push_back(id);
      } else if (unk_ >= 0) {
        ids.push_back(unk_);
      }
    }
  }
  return {};
}

}  // namespace decant::tokenizer
