// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

constexpr double kUnkPenalty = 10.0;  // an unknown character's score lies this far below the worst entry's

}  // namespace

UnigramModel::UnigramModel(Vocabulary vocabulary, std::vector<double> scores, int32_t unk, bool byte_fallback)
    : Model(std::move(vocabulary)), scores_(std::move(scores)), unk_(unk), byte_fallback_(byte_fallback) {
  double worst = std::numeric_limits<double>::infinity();
  for (const double score : scores_) worst = std::min(worst, score);
  unk_score_ = worst - kUnkPenalty;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view text = vocabulary_.text(id);
    if (!text.empty() && vocabulary_.id_of(text) == id) sorted_.push_back({text, id});
  }
  std::sort(sorted_.begin(), sorted_.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
  for (size_t b = 0; b < byte_ids_.size(); ++b) byte_ids_[b] = vocabulary_.id_of(byte_token(static_cast<uint8_t>(b)));
}

Status UnigramModel::find_best_path(std::string_view word, std::vector<PathNode>& path) const {
  path.assign(word.size() + 1, PathNode{});
  const auto offer = [&](size_t from, size_t to, int32_t id, double score) {
    const double sum = path[from].score + score;
    if (path[to].from >= 0 && sum <= path[to].score) return;
    path[to] = {sum, static_cast<int32_t>(from), id};
  };
  size_t bytes = 0;
  for (size_t at = 0; at < word.size(); at += bytes) {
    bytes = utf8_step(word.substr(at)).bytes;
    bool covers_character = false;
    auto first = sorted_.begin(), last = sorted_.end();  // entries that begin with word[at, at + n)
    for (size_t n = 1; at + n <= word.size(); ++n) {
      const auto byte = static_cast<uint8_t>(word[at + n - 1]);
      const auto byte_of = [n](const Entry& e) {
        return e.text.size() < n ? -1 : static_cast<int>(static_cast<uint8_t>(e.text[n - 1]));
      };
      first = std::partition_point(first, last, [&](const Entry& e) { return byte_of(e) < byte; });
      last = std::partition_point(first, last, [&](const Entry& e) { return byte_of(e) <= byte; });
      if (first == last) break;
      if (first->text.size() != n) continue;
      offer(at, at + n, first->id, scores_[static_cast<size_t>(first->id)]);
      covers_character = covers_character || n == bytes;
    }
    if (covers_character) continue;
    if (unk_ < 0)
      return Error{ErrorCode::bad_format, "tokenizer: the text needs an unknown token, and the model has none"};
    offer(at, at + bytes, unk_, unk_score_);
  }
  return {};
}

void UnigramModel::put_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  // Joined, unknown stretches may spell an entry after all: that of the unknown token.
  if (const int32_t id = vocabulary_.id_of(text); id >= 0) {
    ids.push_back(id);
    return;
  }
  const auto byte_id = [this](char b) { return byte_ids_[static_cast<uint8_t>(b)]; };
  if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char b) { return byte_id(b) >= 0; })) {
    for (const char b : text) ids.push_back(byte_id(b));
  } else {
    ids.push_back(unk_);
  }
}

Status UnigramModel::tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (Status status = find_best_path(word, scratch.path); !status) return status;
  // The path is known from its end: turn it round, and join neighbouring unknown stretches.
  std::vector<Symbol>& tokens = scratch.symbols;
  tokens.clear();
  for (size_t end = word.size(); end > 0;) {
    const PathNode& node = scratch.path[end];
    const auto begin = static_cast<uint32_t>(node.from);
    if (node.id == unk_ && !tokens.empty() && tokens.back().id == unk_) {
      tokens.back().begin = begin;
    } else {
      tokens.push_back({node.id, -1, -1, begin, static_cast<uint32_t>(end)});
    }
    end = begin;
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    if (token->id == unk_) {
      put_unknown(word.substr(token->begin, token->end - token->begin), ids);
    } else {
      ids.push_back(token->id);
    }
  }
  return {};
}

}  // namespace decant::tokenizer
