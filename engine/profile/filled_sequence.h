// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decant/engine.h"

namespace decant::profile {

/// Adds a sequence of depth + 1 made-up tokens, the first `depth` of which have random keys and values in the cache
/// without having been computed: a long context within milliseconds. Decoding from there reads and writes what it would
/// after a real prompt; only its text means nothing. The sequence is paused: Engine::extend() lets it go on, at
/// position `depth`. Errors as Engine::submit() and KvCache::reserve().
Result<SequenceId> add_filled_sequence(Engine& engine, int depth);

}  // namespace decant::profile
