// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/read_ways.h"

#include "engine/profile/read_streams.h"

namespace decant::profile {

std::span<const ReadWay> read_ways_plain() noexcept {
  static constexpr ReadWay kWays[] = {read_streams<uint64_t, 1, 1, 0>, read_streams<uint64_t, 1, 4, 512>};
  return kWays;
}

}  // namespace decant::profile
