// SPDX-License-Identifier: Apache-2.0
#include "engine/model/generation_defaults.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace decant::model {

namespace {

/// Bounds of SamplingParams' fields.
struct Range {
  double low;
  bool low_itself;
  double high;
};
constexpr Range kTemperature = {0.0, true, 1e6};
constexpr Range kProbability = {0.0, false, 1.0};
constexpr Range kMinP = {0.0, true, 1.0};
constexpr Range kPenalty = {0.0, false, 1e6};

std::optional<float> within(std::optional<double> value, Range range) {
  if (!value || !std::isfinite(*value) || *value > range.high) return std::nullopt;
  const auto narrow = static_cast<float>(*value);
  if (narrow < range.low || (!range.low_itself && narrow <= range.low)) return std::nullopt;
  return narrow;
}

std::optional<int> count(std::optional<int64_t> value) {
  if (!value || *value < 0 || *value > std::numeric_limits<int>::max()) return std::nullopt;
  return static_cast<int>(*value);
}

std::optional<int32_t> as_id(const Json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) return std::nullopt;
  return static_cast<int32_t>(value.get<uint64_t>());
}

}  // namespace

GenerationDefaults generation_defaults(const Json& config) {
  const auto number = [&](const char* key) -> std::optional<double> {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_number()) return std::nullopt;
    return found->get<double>();
  };
  const auto integer = [&](const char* key) -> std::optional<int64_t> {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_number_integer()) return std::nullopt;
    return found->get<int64_t>();
  };
  GenerationDefaults out;
  const auto do_sample = config.find("do_sample");
  if (do_sample != config.end() && do_sample->is_boolean()) out.do_sample = do_sample->get<bool>();
  out.temperature = within(number("temperature"), kTemperature);
  out.top_p = within(number("top_p"), kProbability);
  out.min_p = within(number("min_p"), kMinP);
  out.typical_p = within(number("typical_p"), kProbability);
  out.repetition_penalty = within(number("repetition_penalty"), kPenalty);
  out.top_k = count(integer("top_k"));
  out.no_repeat_ngram_size = count(integer("no_repeat_ngram_size"));
  return out;
}

GenerationDefaults generation_defaults(const GgufMetadata& metadata) {
  const auto number = [&](const char* key) -> std::optional<double> {
    const GgufValue* const value = metadata.find(std::string("general.sampling.") + key);
    if (value == nullptr) return std::nullopt;
    if (const auto* real = std::get_if<double>(value)) return *real;
    if (const auto* integer = std::get_if<int64_t>(value)) return static_cast<double>(*integer);
    return std::nullopt;
  };
  GenerationDefaults out;
  out.temperature = within(number("temp"), kTemperature);
  if (out.temperature) out.do_sample = *out.temperature > 0.0F;
  out.top_p = within(number("top_p"), kProbability);
  out.min_p = within(number("min_p"), kMinP);
  out.repetition_penalty = within(number("penalty_repeat"), kPenalty);
  if (const GgufValue* const top_k = metadata.find("general.sampling.top_k"))
    if (const auto* const value = std::get_if<int64_t>(top_k)) out.top_k = count(*value);
  return out;
}

void add_ids(const Json& object, const char* key, std::vector<int32_t>& ids) {
  const auto found = object.find(key);
  if (found == object.end()) return;
  if (!found->is_array()) {
    if (const std::optional<int32_t> id = as_id(*found)) ids.push_back(*id);
    return;
  }
  for (const Json& item : *found)
    if (const std::optional<int32_t> id = as_id(item)) ids.push_back(*id);
}

std::vector<int32_t> gguf_end_ids(const GgufMetadata& metadata) {
  std::vector<int32_t> ids;
  for (const char* const key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const GgufValue* const value = metadata.find(key))
      if (const auto* const id = std::get_if<int64_t>(value); id != nullptr && *id >= 0 && *id <= INT32_MAX)
        ids.push_back(static_cast<int32_t>(*id));
  return ids;
}

std::vector<int32_t> within_vocabulary(std::vector<int32_t> ids, int vocab_size) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::erase_if(ids, [&](int32_t id) { return id < 0 || id >= vocab_size; });
  return ids;
}

}  // namespace decant::model
