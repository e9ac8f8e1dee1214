// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/rng.h"

#include <cmath>
#include <set>

#include <doctest/doctest.h>

using decant::sampler::philox4x32_10;
using decant::sampler::uniform;
using Words = std::array<uint32_t, 4>;

TEST_CASE("rng: Philox 4x32-10 gives the known answers of Random123") {
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8});
  const uint32_t ones = 0xFFFFFFFF;
  CHECK(philox4x32_10({ones, ones, ones, ones}, {ones, ones}) == Words{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD});
  CHECK(philox4x32_10({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, {0xA4093822, 0x299F31D0}) ==
        Words{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1});
}

TEST_CASE("rng: a draw is the upper 53 bits of the first two words") {
  CHECK(uniform(0, 0, 0) == std::ldexp(static_cast<double>(0xE169C58D6627E8D5 >> 11), -53));
  // Counter: position low, high, draw, 0. Key: seed low, high.
  const Words bits = philox4x32_10({0x85A308D3, 0x243F6A88, 0x13198A2E, 0}, {0x299F31D0, 0xA4093822});
  const uint64_t word = (uint64_t{bits[1]} << 32) | bits[0];
  CHECK(uniform(0xA4093822299F31D0, 0x243F6A8885A308D3, 0x13198A2E) ==
        std::ldexp(static_cast<double>(word >> 11), -53));
}

TEST_CASE("rng: seed, position and draw index each give another number, always in [0, 1)") {
  std::set<double> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}})
    for (const int64_t pos : {int64_t{0}, int64_t{1}, int64_t{1} << 32, int64_t{1} << 40})
      for (const uint32_t draw : {0U, 1U, 2U}) {
        const double u = uniform(seed, pos, draw);
        CHECK(u >= 0.0);
        CHECK(u < 1.0);
        CHECK(seen.insert(u).second);
      }
}
