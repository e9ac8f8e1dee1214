// SPDX-License-Identifier: Apache-2.0
#include "decant/stats.h"

namespace decant {

const char* to_string(PrefixMiss why) noexcept {
  switch (why) {
    case PrefixMiss::none:
      return "none";
    case PrefixMiss::off:
      return "off";
    case PrefixMiss::unknown:
      return "unknown";
    case PrefixMiss::diverged:
      return "diverged";
    case PrefixMiss::evicted:
      return "evicted";
    case PrefixMiss::window:
      return "window";
    case PrefixMiss::no_memory:
      return "no_memory";
  }
  return "unknown";
}

}  // namespace decant
