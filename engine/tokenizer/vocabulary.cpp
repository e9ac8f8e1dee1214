// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "decant/detail/format.h"

namespace decant::tokenizer {

namespace {

constexpr uint64_t kFreeKey = ~uint64_t{0};

size_t table_size(size_t n) { return std::bit_ceil(std::max<size_t>(n * 2, 8)); }

uint64_t key_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

Status Vocabulary::add(std::string_view text, int64_t id) {
  if (id < 0 || id > kMaxTokenId)
    return Error{ErrorCode::bad_format,
                 detail::format("tokenizer: entry '{}' has id {}, outside 0 … {}", text, id, kMaxTokenId)};
  if (text.size() > std::numeric_limits<uint32_t>::max())
    return Error{ErrorCode::bad_format, "tokenizer: an entry of 4 GiB"};
  entries_.push_back({arena_.size(), static_cast<uint32_t>(text.size()), static_cast<int32_t>(id)});
  arena_ += text;
  longest_bytes_ = std::max(longest_bytes_, text.size());
  return {};
}

Status Vocabulary::build() {
  int32_t largest = -1;
  for (const Entry& e : entries_) largest = std::max(largest, e.id);
  if (static_cast<size_t>(largest + 1) > 16 * entries_.size() + (size_t{1} << 20))
    return Error{ErrorCode::bad_format,
                 detail::format("tokenizer: largest id {} in a vocabulary of {} entries", largest, entries_.size())};
  by_id_.assign(static_cast<size_t>(largest + 1), -1);
  slots_.assign(table_size(entries_.size()), Slot{-1, 0});
  for (size_t i = 0; i < entries_.size(); ++i) {
    const std::string_view text = text_of(entries_[i]);
    const size_t hash = std::hash<std::string_view>{}(text);
    slots_[slot_of(text, hash)] = {static_cast<int32_t>(i), hash_top(hash)};
    by_id_[static_cast<size_t>(entries_[i].id)] = static_cast<int32_t>(i);
  }
  return {};
}

size_t Vocabulary::slot_of(std::string_view text, size_t hash) const noexcept {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].entry >= 0 &&
         (slots_[at].hash_top != hash_top(hash) || text_of(entries_[static_cast<size_t>(slots_[at].entry)]) != text))
    at = (at + 1) & mask;
  return at;
}

std::string_view Vocabulary::text(int32_t id) const noexcept {
  return contains(id) ? text_of(entries_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])]) : std::string_view();
}

int32_t Vocabulary::id_of(std::string_view text) const noexcept {
  if (slots_.empty()) return -1;
  const int32_t entry = slots_[slot_of(text, std::hash<std::string_view>{}(text))].entry;
  return entry < 0 ? -1 : entries_[static_cast<size_t>(entry)].id;
}

MergeTable::MergeTable(size_t n_merges) : slots_(table_size(n_merges), Slot{kFreeKey, {}}) {}

size_t MergeTable::slot_of(uint64_t key) const noexcept {
  const size_t mask = slots_.size() - 1;
  const uint64_t mixed = key * 0x9E3779B97F4A7C15ULL;
  size_t at = static_cast<size_t>(mixed >> 32) & mask;
  while (slots_[at].key != kFreeKey && slots_[at].key != key) at = (at + 1) & mask;
  return at;
}

void MergeTable::set(int32_t left, int32_t right, MergeRule rule) {
  const uint64_t key = key_of(left, right);
  slots_[slot_of(key)] = {key, rule};
}

MergeRule MergeTable::find(int32_t left, int32_t right) const noexcept {
  return slots_[slot_of(key_of(left, right))].rule;
}

}  // namespace decant::tokenizer
