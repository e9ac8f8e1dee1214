// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "decant/result.h"

#include "engine/scheduler.h"

namespace decant {

/// What a snapshot keeps of a sequence beside its cache: ids and how it goes on, as JSON.
std::string encode_sequence(const Sequence& sequence);

/// Back again: everything but id, cache index and limit. `bad_format` for text that no encode_sequence() wrote; values
/// are checked for themselves (counts agree, nothing negative), not against a model.
Result<Sequence> decode_sequence(std::span<const std::byte> text, const std::string& path);

}  // namespace decant
