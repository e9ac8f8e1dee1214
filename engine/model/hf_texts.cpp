// SPDX-License-Identifier: Apache-2.0
#include "engine/model/hf_texts.h"

#include <sys/stat.h>

#include "decant/detail/format.h"

#include "engine/model/input_file.h"

namespace decant::model {

namespace {

/// An optional file of the directory and its key in a packed file.
struct TextFile {
  std::optional<std::string> HfTexts::*text;
  const char* name;
  const char* key;
};

constexpr TextFile kTextFiles[] = {
    {&HfTexts::generation_config, "generation_config.json", "decant.packed.generation_config_json"},
    {&HfTexts::tokenizer, "tokenizer.json", "decant.packed.tokenizer_json"},
    {&HfTexts::tokenizer_config, "tokenizer_config.json", "decant.packed.tokenizer_config_json"},
};
constexpr const char* kConfigKey = "decant.packed.config_json";
constexpr const char* kTemplateKey = "decant.packed.has_chat_template_file";

bool exists(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

Result<HfTexts> read_hf_texts(const std::string& directory) {
  const std::string config_path = directory + "/config.json";
  if (!exists(config_path))
    return Error{ErrorCode::io, detail::format("{}: has no config.json; a model is a directory with config.json and "
                                               "*.safetensors, or a .gguf file",
                                               directory)};
  HfTexts texts;
  Result<std::string> config = read_text(config_path);
  if (!config) return config.error();
  texts.config = std::move(*config);
  for (const TextFile& file : kTextFiles) {
    const std::string path = directory + "/" + file.name;
    if (!exists(path)) continue;
    Result<std::string> text = read_text(path);
    if (!text) return text.error();
    texts.*file.text = std::move(*text);
  }
  texts.has_template_file = exists(directory + "/chat_template.jinja");
  return texts;
}

void add_hf_texts(GgufWriter& writer, const HfTexts& texts) {
  writer.add_string(kConfigKey, texts.config);
  for (const TextFile& file : kTextFiles)
    if (const std::optional<std::string>& text = texts.*file.text) writer.add_string(file.key, *text);
  writer.add_bool(kTemplateKey, texts.has_template_file);
}

std::optional<HfTexts> hf_texts_of(GgufMetadata& metadata) {
  std::optional<std::string> config = metadata.text(kConfigKey);
  if (!config) return std::nullopt;
  HfTexts texts;
  texts.config = std::move(*config);
  for (const TextFile& file : kTextFiles) texts.*file.text = metadata.text(file.key);
  texts.has_template_file = metadata.boolean(kTemplateKey).value_or(false);
  return texts;
}

}  // namespace decant::model
