// SPDX-License-Identifier: Apache-2.0
#pragma once

// DECANT_CHECK(condition, "why it always holds"): for decant's own mistakes only. Traps in debug builds, costs nothing
// in release builds. No input, file or request can reach one.
#ifdef NDEBUG
#define DECANT_CHECK(condition, why) static_cast<void>(0)
#else
#define DECANT_CHECK(condition, why) ((condition) ? static_cast<void>(0) : __builtin_trap())
#endif
