// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/bpe.h"

#include <limits>

#include "decant/detail/format.h"

#include "engine/tokenizer/merge.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

std::string byte_token(uint8_t byte) { return detail::format("<0x{:02X}>", byte); }

Result<std::unique_ptr<Model>> BpeModel::make(Vocabulary vocabulary, const Merges& merges, BpeOptions options) {
  if (merges.size() > std::numeric_limits<uint32_t>::max())
    return Error{ErrorCode::bad_format, "tokenizer: too many merges"};
  MergeTable table(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    joined.assign(left).append(right);
    const int32_t left_id = vocabulary.id_of(left), right_id = vocabulary.id_of(right), id = vocabulary.id_of(joined);
    if (left_id < 0 || right_id < 0 || id < 0)
      return Error{ErrorCode::bad_format,
                   detail::format("tokenizer: merge {} ('{}' '{}'): '{}' is not in the vocabulary", i, left, right,
                                  left_id < 0 ? left : (right_id < 0 ? right : joined))};
    table.set(left_id, right_id, {static_cast<uint32_t>(i), id});
  }
  return std::unique_ptr<Model>(new BpeModel(std::move(vocabulary), std::move(table), std::move(options)));
}

BpeModel::BpeModel(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
    : Model(std::move(vocabulary)), merges_(std::move(merges)), options_(std::move(options)) {
  if (!options_.unk_token.empty()) unk_id_ = vocabulary_.id_of(options_.unk_token);
  for (size_t b = 0; b < byte_ids_.size(); ++b) byte_ids_[b] = vocabulary_.id_of(byte_token(static_cast<uint8_t>(b)));
  std::string character;
  for (size_t c = 0; c < kDirect; ++c) {
    character.clear();
    append_utf8(character, static_cast<char32_t>(c));
    character_ids_[c] = vocabulary_.id_of(character);
  }
}

int32_t BpeModel::id_of_character(std::string_view character, char32_t code_point) const {
  return code_point < kDirect ? character_ids_[code_point] : vocabulary_.id_of(character);
}

Status BpeModel::split_into_symbols(std::string_view word, Scratch& scratch) const {
  scratch.symbols.clear();
  // Merging here asks for ids alone: a symbol's extent is its number, not its bytes.
  const auto put = [&](int32_t id) { append_symbol(scratch, id, scratch.symbols.size(), scratch.symbols.size() + 1); };
  bool unk_pending = false;  // an unknown token that later unknown characters may join
  const auto put_unk = [&] {
    if (unk_pending) put(unk_id_);
    unk_pending = false;
  };
  for (size_t at = 0; at < word.size();) {
    const Utf8Step step = utf8_step(word.substr(at));
    const std::string_view character = word.substr(at, step.bytes);
    at += step.bytes;
    if (const int32_t id = id_of_character(character, step.code_point); id >= 0) {
      put_unk();
      put(id);
      continue;
    }
    if (options_.byte_fallback) {
      bool all = true;
      for (const char b : character) all = all && byte_ids_[static_cast<uint8_t>(b)] >= 0;
      if (all) {
        // A pending unknown token stays pending and comes after these bytes: so the reference does it.
        for (const char b : character) put(byte_ids_[static_cast<uint8_t>(b)]);
        continue;
      }
    }
    if (options_.unk_token.empty()) continue;
    if (unk_id_ < 0)
      return Error{ErrorCode::bad_format,
                   detail::format("tokenizer: unknown token '{}' is not in the vocabulary, but the text needs it",
                                  options_.unk_token)};
    if (!options_.fuse_unk) put_unk();
    unk_pending = true;
  }
  put_unk();
  return {};
}

Status BpeModel::tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (word.empty()) return {};
  if (options_.ignore_merges) {
    if (const int32_t id = vocabulary_.id_of(word); id >= 0) {
      ids.push_back(id);
      return {};
    }
  }
  if (Status split = split_into_symbols(word, scratch); !split) return split;
  merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
  for (const Symbol& symbol : scratch.symbols)
    if (symbol.begin != symbol.end) ids.push_back(symbol.id);
  return {};
}

}  // namespace decant::tokenizer
