// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/json_reader.h"

#include <limits>

#include "decant/detail/format.h"

namespace decant::tokenizer {

void refuse(ErrorCode code, std::string message) {
  throw Refusal{Error{code, "tokenizer.json: " + std::move(message)}};
}

JsonDocument parse_json(std::string_view text) {
  if (const int depth = json_depth(text); depth > kMaxJsonDepth)
    refuse(ErrorCode::bad_format, detail::format("nested {} levels deep (at most {} are read)", depth, kMaxJsonDepth));
  JsonDocument json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) refuse(ErrorCode::bad_format, "not a JSON document, or a truncated one");
  if (!json.is_object()) refuse(ErrorCode::bad_format, "not an object");
  return json;
}

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json& required(const Json& object, const char* key, const char* where) {
  const Json* const value = member(object, key);
  if (value == nullptr) refuse(ErrorCode::bad_format, detail::format("{} has no '{}'", where, key));
  return *value;
}

bool read_bool(const Json& object, const char* key, bool fallback, const char* where) {
  const Json* const value = member(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean())
    refuse(ErrorCode::bad_format, detail::format("'{}' of {} is not true or false", key, where));
  return value->get<bool>();
}

std::string read_string(const Json& object, const char* key, const char* where) {
  const Json& value = required(object, key, where);
  if (!value.is_string()) refuse(ErrorCode::bad_format, detail::format("'{}' of {} is not a string", key, where));
  return value.get<std::string>();
}

int64_t read_integer(const Json& value, const char* where) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(ErrorCode::bad_format, detail::format("{} is {}", where, value.get<uint64_t>()));
  if (!value.is_number_integer()) refuse(ErrorCode::bad_format, detail::format("{} is not an integer", where));
  return value.get<int64_t>();
}

std::string type_of(const Json& object, const char* where) {
  if (!object.is_object()) refuse(ErrorCode::bad_format, detail::format("{} is not an object", where));
  return read_string(object, "type", where);
}

}  // namespace decant::tokenizer
