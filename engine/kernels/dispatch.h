// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decant/isa.h"

#include "engine/kernels/kernels.h"

namespace decant::kernels {

/// The table of an ISA. Every ISA has one; calling one that the CPU lacks is undefined (see resolve_isa).
const KernelTable& table(Isa isa) noexcept;

}  // namespace decant::kernels
