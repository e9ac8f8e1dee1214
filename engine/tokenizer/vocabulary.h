// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "decant/result.h"

namespace decant::tokenizer {

inline constexpr int64_t kMaxTokenId = (int64_t{1} << 24) - 1;

/// Strings and their ids, both ways. Filled once, then read from any number of threads.
class Vocabulary {
 public:
  /// `bad_format` if the id is negative or past kMaxTokenId. Of several strings with one id entry() gives the last; a
  /// string given twice has the id it was given last.
  Status add(std::string_view text, int64_t id);

  /// Ends the filling. `bad_format` if ids are so sparse that a table of them would dwarf the file.
  Status build();

  int32_t size() const noexcept { return static_cast<int32_t>(by_id_.size()); }  ///< one more than the largest id
  bool contains(int32_t id) const noexcept { return id >= 0 && id < size() && by_id_[static_cast<size_t>(id)] >= 0; }
  std::string_view text(int32_t id) const noexcept;     ///< empty for an id that has none
  int32_t id_of(std::string_view text) const noexcept;  ///< or -1
  size_t longest_bytes() const noexcept { return longest_bytes_; }
  /// Of memory.
  size_t size_bytes() const noexcept {
    return arena_.capacity() + entries_.capacity() * sizeof(Entry) + slots_.capacity() * sizeof(Slot) +
           by_id_.capacity() * sizeof(int32_t);
  }

 private:
  struct Entry {
    size_t begin;
    uint32_t bytes;
    int32_t id;
  };
  std::string_view text_of(const Entry& e) const noexcept { return std::string_view(arena_).substr(e.begin, e.bytes); }
  struct Slot {
    int32_t entry;      // index of entries_, -1: free
    uint32_t hash_top;  // of its text's hash: tells most strangers apart without a look at their texts
  };
  static uint32_t hash_top(size_t hash) noexcept { return static_cast<uint32_t>(hash >> 32); }
  size_t slot_of(std::string_view text, size_t hash) const noexcept;

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;     // open addressing; a power of two
  std::vector<int32_t> by_id_;  // index of the entry, or -1
  size_t longest_bytes_ = 0;
};

/// A merge of two neighbouring tokens: the lower the rank, the earlier it happens.
struct MergeRule {
  uint32_t rank = 0;
  int32_t id = -1;  ///< what the two become; -1: they don't merge
};

/// (left id, right id) → rule.
class MergeTable {
 public:
  explicit MergeTable(size_t n_merges = 0);
  void set(int32_t left, int32_t right,
           MergeRule rule);  ///< a pair given twice keeps its last rule; at most n_merges pairs
  MergeRule find(int32_t left, int32_t right) const noexcept;
  size_t size_bytes() const noexcept { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    uint64_t key;
    MergeRule rule;
  };
  size_t slot_of(uint64_t key) const noexcept;
  std::vector<Slot> slots_;
};

}  // namespace decant::tokenizer
