// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace decant::cache {

/// The latest 4096 or so of the hashes that were added, in as many places: eight for each remainder, newest first. A
/// hash of 0 is never there. Look-up and change are O(1) and take no memory.
class RecentHashes {
 public:
  RecentHashes() : places_(kSets * kWays) {}

  bool contains(uint64_t hash) const noexcept {
    const auto set = first_of(hash);
    return hash != 0 && std::find(set, set + kWays, hash) != set + kWays;
  }
  void add(uint64_t hash) noexcept {
    const auto set = first_of(hash);
    // To the front, in the place of itself or of the oldest.
    const auto end = std::min(std::find(set, set + kWays, hash), set + kWays - 1);
    std::copy_backward(set, end, end + 1);
    *set = hash;
  }
  void remove(uint64_t hash) noexcept {
    const auto set = first_of(hash);
    std::fill(std::remove(set, set + kWays, hash), set + kWays, 0);
  }
  void clear() noexcept { std::fill(places_.begin(), places_.end(), 0); }

  size_t heap_bytes() const noexcept { return places_.capacity() * sizeof(uint64_t); }

 private:
  static constexpr size_t kSets = 512;
  static constexpr std::ptrdiff_t kWays = 8;

  static std::ptrdiff_t offset(uint64_t hash) noexcept { return static_cast<std::ptrdiff_t>(hash % kSets) * kWays; }
  std::vector<uint64_t>::iterator first_of(uint64_t hash) noexcept { return places_.begin() + offset(hash); }
  std::vector<uint64_t>::const_iterator first_of(uint64_t hash) const noexcept {
    return places_.begin() + offset(hash);
  }

  std::vector<uint64_t> places_;
};

}  // namespace decant::cache
