// SPDX-License-Identifier: Apache-2.0
#include "decant/result.h"

namespace decant {

const char* to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::ok:
      return "ok";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::io:
      return "io";
    case ErrorCode::bad_format:
      return "bad_format";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::cache_full:
      return "cache_full";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::non_finite:
      return "non_finite";
    case ErrorCode::internal:
      return "internal";
    case ErrorCode::mismatch:
      return "mismatch";
    case ErrorCode::over_limit:
      return "over_limit";
  }
  return "unknown";
}

}  // namespace decant
