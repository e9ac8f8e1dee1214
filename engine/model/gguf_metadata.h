// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decant/result.h"

#include "engine/model/gguf_writer.h"
#include "engine/model/hyperparameters.h"
#include "engine/tokenizer/tokenizer_source.h"

namespace decant::model {

// What describes a model in a GGUF file, written. gguf_config.cpp and gguf_tokenizer.cpp read it.

/// `unsupported` for a configuration that GGUF has no words for: windows of some layers, an unusual scale of attention.
/// `path` is for messages.
Status check_gguf_expressible(const Hyperparameters& hyper, const ModelConfig& config, const std::string& path);

/// Counts, norms, rotation (but not llama3's divisors, which are a tensor) and the type of most weights. file_type: as
/// general.file_type.
void add_gguf_config(GgufWriter& writer, const Hyperparameters& hyper, const ModelConfig& config, uint32_t file_type);

/// Ids that end a text; eos is the first of them where it is empty. GGUF has names for three: `unsupported` beyond.
Status add_gguf_end_ids(GgufWriter& writer, std::optional<int32_t> eos, std::vector<int32_t> end_ids,
                        const std::string& path);

/// A vocabulary, with the ids that end a text (its own eos may be among them) and one for padding.
Status add_gguf_vocabulary(GgufWriter& writer, const tokenizer::GgufVocabulary& vocabulary,
                           const std::vector<int32_t>& end_ids, std::optional<int32_t> padding,
                           const std::string& path);

}  // namespace decant::model
