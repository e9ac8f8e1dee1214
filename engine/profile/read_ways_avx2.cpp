// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/read_streams.h"
#include "engine/profile/read_ways.h"

namespace decant::profile {

namespace {
using Word32 = uint64_t __attribute__((vector_size(32), may_alias));
}

std::span<const ReadWay> read_ways_avx2() noexcept {
  static constexpr ReadWay kWays[] = {read_streams<Word32, 2, 1, 0>, read_streams<Word32, 2, 4, 0>,
                                      read_streams<Word32, 2, 4, 1024>};
  return kWays;
}

}  // namespace decant::profile
