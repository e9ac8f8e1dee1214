// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "decant/engine.h"

#include "tools/terminal.h"

namespace decant::tools {

/// Takes the logits [vocab_size] of the position `pos`; an error ends the whole.
using RowReader = std::function<Status(int pos, std::span<const float> logits)>;

/// Options that let an engine report every position of a prompt of n_ids, in chunks of `chunk` (0: as large as is
/// useful).
void report_all_logits(EngineOptions& options, int chunk, size_t n_ids);

/// Computes the logits of every position of `ids`, without generating. The engine is free for the next one afterwards.
Status prefill(Engine& engine, std::vector<int32_t> ids, const Interrupts& interrupts, const RowReader& read);

}  // namespace decant::tools
