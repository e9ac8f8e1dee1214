// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "decant/detail/format.h"

#include "engine/model/model_config.h"
#include "engine/quant/format.h"
#include "tools/args.h"
#include "tools/model_args.h"
#include "tools/output.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

/// Every field of the model that people and scripts ask for, in the order in which they are shown.
Json describe_model(const model::ModelDescription& model) {
  const ModelInfo& info = model.info;
  Json json;
  json["path"] = info.path;
  json["format"] = info.format;
  json["architecture"] = info.architecture;
  json["name"] = info.name;
  json["n_params"] = info.n_params;
  json["n_layers"] = info.n_layers;
  json["d_model"] = info.d_model;
  json["d_ff"] = info.d_ff;
  json["n_heads"] = info.n_heads;
  json["n_kv_heads"] = info.n_kv_heads;
  json["head_dim"] = info.head_dim;
  json["vocab_size"] = info.vocab_size;
  json["n_ctx"] = info.n_ctx;
  json["window"] = info.window;
  json["tied_head"] = info.tied_head;
  json["has_chat_template"] = info.has_chat_template;
  json["file_bytes"] = info.file_bytes;
  json["end_ids"] = model.end_ids;

  const GenerationDefaults& defaults = model.defaults;
  Json generation = Json::object();
  const auto add = [&generation](const char* name, const auto& value) {
    if (value) generation[name] = *value;
  };
  add("do_sample", defaults.do_sample);
  add("temperature", defaults.temperature);
  add("top_k", defaults.top_k);
  add("top_p", defaults.top_p);
  add("min_p", defaults.min_p);
  add("typical_p", defaults.typical_p);
  add("repetition_penalty", defaults.repetition_penalty);
  add("no_repeat_ngram_size", defaults.no_repeat_ngram_size);
  json["generation_defaults"] = std::move(generation);
  return json;
}

const char* type_name(const model::TensorInfo& tensor) {
  return tensor.in_tiles ? quant::tile_type_name(tensor.type) : to_string(tensor.type);
}

/// How many tensors of each type there are: {"F32": 17, "Q8_0": 57}.
Json count_types(const model::ModelDescription& model) {
  Json counts = Json::object();
  for (const model::TensorInfo& tensor : model.files->tensors()) {
    Json& count = counts[type_name(tensor)];
    count = count.is_null() ? 1 : count.get<int>() + 1;
  }
  return counts;
}

Json list_tensors(const model::ModelDescription& model) {
  Json tensors = Json::array();
  for (const model::TensorInfo& tensor : model.files->tensors()) {
    Json entry;
    entry["name"] = tensor.name;
    entry["type"] = type_name(tensor);
    entry["shape"] = tensor.shape;
    entry["size_bytes"] = tensor.size_bytes;
    tensors.push_back(std::move(entry));
  }
  return tensors;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// "[4, 64]" → "4, 64"; objects lose their braces and quotes.
std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return detail::format("{:g}", value.get<double>());
  if (!value.is_structured()) return dump(value);
  std::string text;
  for (const auto& [key, item] : value.items()) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += key + " ";
    text += plain(item);
  }
  return text.empty() ? "none" : text;
}

std::string table(const Json& json) {
  std::string text;
  for (const auto& [key, value] : json.items())
    if (key != "tensors") text += detail::format("{:<20} {}\n", key, plain(value));
  if (!json.contains("tensors")) return text;
  text += "\n";
  for (const Json& tensor : json["tensors"])
    text +=
        detail::format("{:<44} {:<10} [{}]\n", plain(tensor["name"]), plain(tensor["type"]), plain(tensor["shape"]));
  return text;
}

}  // namespace

int cmd_inspect(const Words& words) {
  Arguments arguments("inspect", "Shows what a model is, without loading its weights.");
  ModelArgs args;
  bool tensors = false, json = false;
  arguments.text(
      "MODEL", "", args.model,
      "A .gguf or packed file or a Hugging Face directory; without it $DECANT_MODEL, else the bundled model");
  arguments.flag("--tensors", tensors, "Every tensor too: name, type, shape");
  arguments.flag("--json", json, "One line of JSON");
  if (const std::optional<int> status = arguments.parse(words)) return *status;

  const Result<std::string> path = args.find_model();
  if (!path) return fail("inspect", path.error());
  const Result<model::ModelDescription> model = model::describe(*path);
  if (!model) return fail("inspect", model.error());
  Json result = describe_model(*model);
  result["tensor_types"] = count_types(*model);
  if (tensors) result["tensors"] = list_tensors(*model);
  Output out;
  out.write(json ? dump(result) + "\n" : table(result));
  return out.status("inspect");
}

}  // namespace decant::tools
