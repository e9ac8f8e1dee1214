// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/read_streams.h"
#include "engine/profile/read_ways.h"

namespace decant::profile {

namespace {
using Word64 = uint64_t __attribute__((vector_size(64), may_alias));
}

std::span<const ReadWay> read_ways_avx512() noexcept {
  static constexpr ReadWay kWays[] = {read_streams<Word64, 1, 1, 4096>, read_streams<Word64, 1, 4, 0>,
                                      read_streams<Word64, 1, 4, 1024>};
  return kWays;
}

}  // namespace decant::profile
