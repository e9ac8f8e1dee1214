// SPDX-License-Identifier: Apache-2.0
#include "engine/sequence_state.h"

#include <limits>
#include <optional>
#include <string_view>

#include "decant/detail/format.h"

#include "engine/model/json.h"

namespace decant {

namespace {

using model::Json;

constexpr int kVersion = 2;  // 1 had neither salt nor priority: a text that had a salt must not be shared without it

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += detail::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  std::string bytes;
  if (hex.size() % 2 != 0) return std::nullopt;
  for (size_t i = 0; i < hex.size(); i += 2) {
    if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0) return std::nullopt;
    bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  }
  return bytes;
}

}  // namespace

std::string encode_sequence(const Sequence& sequence) {
  const Request& r = sequence.request;
  const SamplingParams& s = r.sampling;
  std::string ids;
  for (const int32_t id : sequence.ids) ids.append(ids.empty() ? "" : ",").append(std::to_string(id));
  return detail::format(
      R"({{"version":{},"ids":[{}],"ids_begin":{},"n_computed":{},"slid_to":{},"recent_window":{},"n_sinks":{},)"
      R"("ignore_end":{},"share_prefix":{},"prefix_salt":"{}","prefix_priority":{},"sampling":{{"temperature":{},"top_k":{},"top_p":{},"min_p":{},)"
      R"("typical_p":{},"epsilon_cutoff":{},"eta_cutoff":{},"repetition_penalty":{},"no_repeat_ngram_size":{},)"
      R"("seed":{}}}}})",
      kVersion, ids, sequence.ids_begin, sequence.n_computed, sequence.slid_to, r.recent_window, r.n_sinks,
      r.ignore_end, r.share_prefix, to_hex(r.prefix_salt), r.prefix_priority, s.temperature, s.top_k, s.top_p, s.min_p,
      s.typical_p, s.epsilon_cutoff, s.eta_cutoff, s.repetition_penalty, s.no_repeat_ngram_size, s.seed);
}

Result<Sequence> decode_sequence(std::span<const std::byte> text, const std::string& path) {
  const auto bad = [&path](std::string_view what) {
    return Error{ErrorCode::bad_format, detail::format("{}: the state of the sequence: {}", path, what)};
  };
  Result<JsonDocument> state =
      model::parse_json_object({reinterpret_cast<const char*>(text.data()), text.size()}, path);
  if (!state) return state.error();
  model::JsonFields fields(*state, path);
  const int64_t version = fields.required_integer("version");
  if (fields.status() && version > kVersion)
    return Error{
        ErrorCode::unsupported,
        detail::format("{}: the state of the sequence has version {}, this decant knows {}", path, version, kVersion)};
  const auto as_count = [&bad](model::JsonFields& from, const char* key, int64_t n) {
    if (n < 0 || n > std::numeric_limits<int>::max()) from.fail(bad(detail::format("{} is {}", key, n)));
    return from.status() ? static_cast<int>(n) : 0;
  };
  const auto count = [&](const char* key) { return as_count(fields, key, fields.required_integer(key)); };
  Sequence sequence;
  sequence.ids_begin = count("ids_begin");
  sequence.n_computed = count("n_computed");
  sequence.slid_to = count("slid_to");
  sequence.request.recent_window = count("recent_window");
  sequence.request.n_sinks = count("n_sinks");
  sequence.request.ignore_end = fields.boolean("ignore_end").value_or(false);
  sequence.request.share_prefix = fields.boolean("share_prefix").value_or(true);
  const std::optional<std::string> salt = from_hex(fields.text("prefix_salt").value_or(""));
  if (!salt) return bad("prefix_salt is not hexadecimal");
  sequence.request.prefix_salt = *salt;
  sequence.request.prefix_priority = as_count(fields, "prefix_priority", fields.integer("prefix_priority").value_or(0));
  if (version < 2) sequence.request.share_prefix = false;
  if (!fields.status()) return fields.status().error();

  const Json* const ids = fields.find("ids");
  const Json* const sampling = fields.find("sampling");
  if (ids == nullptr || !ids->is_array() || sampling == nullptr || !sampling->is_object())
    return bad("ids or sampling is missing");
  sequence.ids.reserve(ids->size());
  for (const Json& id : *ids) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max())
      return bad("an id is no token id");
    sequence.ids.push_back(id.get<int32_t>());
  }
  const int64_t n_tokens = sequence.ids_begin + static_cast<int64_t>(sequence.ids.size());
  if (n_tokens > std::numeric_limits<int>::max() || n_tokens < 1 || sequence.n_computed > n_tokens ||
      sequence.n_computed < sequence.ids_begin || sequence.slid_to > sequence.n_computed)
    return bad("counts of tokens contradict each other");

  model::JsonFields s(*sampling, path);
  SamplingParams& params = sequence.request.sampling;
  const auto number = [&s](const char* key, float& out) { out = static_cast<float>(s.number(key).value_or(out)); };
  const auto integer = [&](const char* key, int& out) { out = as_count(s, key, s.integer(key).value_or(out)); };
  number("temperature", params.temperature);
  integer("top_k", params.top_k);
  number("top_p", params.top_p);
  number("min_p", params.min_p);
  number("typical_p", params.typical_p);
  number("epsilon_cutoff", params.epsilon_cutoff);
  number("eta_cutoff", params.eta_cutoff);
  number("repetition_penalty", params.repetition_penalty);
  integer("no_repeat_ngram_size", params.no_repeat_ngram_size);
  const Json* const seed = s.find("seed");
  if (seed == nullptr || !seed->is_number_unsigned()) return bad("seed is missing");
  params.seed = seed->get<uint64_t>();
  if (!s.status()) return s.status().error();
  return sequence;
}

}  // namespace decant
