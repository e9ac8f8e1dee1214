// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace decant::sampler {

/// Philox 4×32-10: 128 random bits that are a function of counter and key alone. Nothing is carried from a draw to the
/// next, so a sequence's draws don't depend on its neighbours, its batch, or on draws that were thrown away.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3; words in Random123's order.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) noexcept;

/// A multiple of 2⁻⁵³ in [0, 1). Key: the seed, low word first; counter: pos, low word first, then draw, then 0.
///
/// draw counts the numbers that one position needs: 0 is the choice of a token.
double uniform(uint64_t seed, int64_t pos, uint32_t draw) noexcept;

}  // namespace decant::sampler
