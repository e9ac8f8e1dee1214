// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace decant::profile {

/// Reads every cache line of [from, from + n_bytes) and returns a sum that keeps the compiler from leaving it out. from
/// lies on 64 bytes; n_bytes is a multiple of 512.
using ReadWay = uint64_t (*)(const std::byte* from, size_t n_bytes);

// Ways to read memory as fast as it goes: none is the fastest on every machine.
std::span<const ReadWay> read_ways_plain() noexcept;
std::span<const ReadWay> read_ways_avx2() noexcept;    ///< needs Isa::avx2
std::span<const ReadWay> read_ways_avx512() noexcept;  ///< needs Isa::avx512

}  // namespace decant::profile
