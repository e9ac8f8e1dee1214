// SPDX-License-Identifier: Apache-2.0
// For the read_ways files only: each compiles it with its own instructions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace decant::profile {
namespace {

constexpr size_t kLine = 64;

/// kStreams places of the range at once, which keep more of the hardware's prefetchers busy than one. Of each line
/// kLoads words are read: one brings the line as well as all of them. kAhead: bytes of prefetching by hand; 0: none.
template <typename Word, size_t kLoads, size_t kStreams, size_t kAhead>
uint64_t read_streams(const std::byte* from, size_t n_bytes) {
  static_assert(kLoads * sizeof(Word) <= kLine);
  const size_t part = n_bytes / kStreams;
  std::array<Word, kStreams> sums = {};
  for (size_t at = 0; at < part; at += kLine)
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const std::byte* const line = from + stream * part + at;
      if constexpr (kAhead > 0) __builtin_prefetch(line + kAhead);
      const auto* const words = reinterpret_cast<const Word*>(line);
      for (size_t i = 0; i < kLoads; ++i) sums[stream] += words[i];
    }
  Word all = {};
  for (const Word& sum : sums) all += sum;
  uint64_t parts[sizeof(Word) / sizeof(uint64_t)];
  __builtin_memcpy(parts, &all, sizeof all);
  uint64_t total = 0;
  for (const uint64_t value : parts) total += value;
  return total;
}

}  // namespace
}  // namespace decant::profile
