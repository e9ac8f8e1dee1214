// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "decant/model.h"

#include "engine/model/gguf.h"
#include "engine/model/json.h"

namespace decant::model {

/// What a generation_config.json asks for. A value of the wrong type or out of range is left out: it comes from
/// elsewhere and is a wish.
GenerationDefaults generation_defaults(const Json& generation_config);
/// The same from GGUF's general.sampling.* keys.
GenerationDefaults generation_defaults(const GgufMetadata& metadata);

/// Adds the ids of a field that is an id or a list of them; others are left out.
void add_ids(const Json& object, const char* key, std::vector<int32_t>& ids);
/// End ids of a GGUF's metadata.
std::vector<int32_t> gguf_end_ids(const GgufMetadata& metadata);
/// Each once, ascending, those outside the vocabulary dropped.
std::vector<int32_t> within_vocabulary(std::vector<int32_t> ids, int vocab_size);

}  // namespace decant::model
