// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "decant/result.h"

#include "engine/model/gguf.h"
#include "engine/model/gguf_writer.h"

namespace decant::model {

/// What a Hugging Face directory says beside its weights: the texts of its files.
struct HfTexts {
  std::string config;                            ///< config.json
  std::optional<std::string> generation_config;  ///< generation_config.json; these three empty where there is none
  std::optional<std::string> tokenizer;          ///< tokenizer.json
  std::optional<std::string> tokenizer_config;   ///< tokenizer_config.json
  bool has_template_file = false;                ///< chat_template.jinja
};

/// `io` where there is no config.json, or a file can't be read.
Result<HfTexts> read_hf_texts(const std::string& directory);

/// Into a packed file, and out of one: empty if it was made from a GGUF file.
void add_hf_texts(GgufWriter& writer, const HfTexts& texts);
std::optional<HfTexts> hf_texts_of(GgufMetadata& metadata);

}  // namespace decant::model
