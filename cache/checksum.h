// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace decant::cache {

/// XXH3 of 64 bits (Y. Collet, xxHash 0.8): the same number on every machine. Finds damage, not forgery.
uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed = 0) noexcept;

}  // namespace decant::cache
