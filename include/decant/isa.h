// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "decant/export.h"
#include "decant/result.h"

namespace decant {

/// Instruction sets that kernels are written for, from the plain one to the best. Which one runs changes the speed and
/// never a bit of a result.
enum class Isa : int { reference, avx2, avxvnni, avx512, avx512vnni };
inline constexpr int kIsaCount = 5;  ///< how many there are

/// "reference", "avx2", "avxvnni", "avx512", "avx512vnni".
DECANT_API const char* to_string(Isa isa) noexcept;

/// Those that this CPU and operating system can run, the reference first, the best last. Asks the CPU once; safe from
/// any thread. avx2 needs AVX2, FMA and F16C; avxvnni AVX-VNNI beside; avx512 F, BW, DQ, VL and CD beside avx2;
/// avx512vnni AVX-512 VNNI beside.
DECANT_API std::span<const Isa> available_isas() noexcept;

/// "auto" (the best) or a name. `invalid_argument` for an unknown one and `unsupported` for one that this CPU lacks;
/// both messages list what it has.
DECANT_API Result<Isa> resolve_isa(std::string_view name);

}  // namespace decant
