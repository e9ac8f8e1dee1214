// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/rng.h"

namespace decant::sampler {
namespace {

constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

}  // namespace

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
    key[0] += 0x9E3779B9;  // golden ratio and sqrt(3) − 1: a Weyl sequence of round keys
    key[1] += 0xBB67AE85;
  }
  return counter;
}

double uniform(uint64_t seed, int64_t pos, uint32_t draw) noexcept {
  const uint64_t p = static_cast<uint64_t>(pos);
  const std::array<uint32_t, 4> bits = philox4x32_10({low(p), high(p), draw, 0}, {low(seed), high(seed)});
  const uint64_t mantissa = ((uint64_t{bits[1]} << 32) | bits[0]) >> 11;
  return static_cast<double>(mantissa) * 0x1p-53;
}

}  // namespace decant::sampler
