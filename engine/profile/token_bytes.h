// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "decant/engine.h"

namespace decant::profile {

/// Bytes of the weights, as the file has them, that one token reads: every matrix once, of an embedding that is not the
/// head too one row only.
size_t weight_bytes_per_token(const Model& model);

/// Bytes of keys and values, as the cache stores them, that the query at position `depth` of a sequence reads before
/// its own: those of `depth` positions, or of a layer's window.
size_t kv_bytes_at(Engine& engine, SequenceId sequence, int depth);

}  // namespace decant::profile
