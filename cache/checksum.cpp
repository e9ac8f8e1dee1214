// SPDX-License-Identifier: Apache-2.0
#include "cache/checksum.h"

// The whole of xxHash in this file: nothing to link, and none of its names in the library.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace decant::cache {

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace decant::cache
