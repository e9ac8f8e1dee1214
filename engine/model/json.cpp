// SPDX-License-Identifier: Apache-2.0
#include "engine/model/json.h"

#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

#include "engine/model/input_file.h"
#include "engine/model/printable.h"

namespace decant::model {

Result<JsonDocument> parse_json_object(std::string_view text, const std::string& path) {
  if (const int depth = json_depth(text); depth > kMaxJsonDepth)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: JSON of {} levels (at most {} are read)", path, depth, kMaxJsonDepth)};
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string twice;
  const Json::parser_callback_t watch_keys = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) twice = key;
    }
    return true;
  };
  JsonDocument root = Json::parse(text.begin(), text.end(), watch_keys, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object())
    return Error{ErrorCode::bad_format, detail::format("{}: is not a JSON object", path)};
  if (!twice.empty())
    return Error{ErrorCode::bad_format, detail::format("{}: key '{}' is there twice", path, printable(twice))};
  return root;
}

Result<JsonDocument> read_json_object(const std::string& path) {
  Result<std::string> text = read_text(path);
  if (!text) return text.error();
  return parse_json_object(*text, path);
}

const Json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> JsonFields::integer(const char* key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  // An unsigned value beyond int64 is as wrong as a fraction.
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX)) {
    wrong_type(key, "an integer");
    return std::nullopt;
  }
  return value->get<int64_t>();
}

std::optional<double> JsonFields::number(const char* key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    wrong_type(key, "a number");
    return std::nullopt;
  }
  return value->get<double>();
}

std::optional<bool> JsonFields::boolean(const char* key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    wrong_type(key, "true or false");
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(const char* key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    wrong_type(key, "a string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

int64_t JsonFields::required_integer(const char* key) {
  const std::optional<int64_t> value = integer(key);
  if (!value) fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' is missing", path_, key)});
  return value.value_or(0);
}

void JsonFields::fail(Error error) {
  if (status_) status_ = std::move(error);
}

void JsonFields::wrong_type(const char* key, const char* wanted) {
  fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' should be {}", path_, key, wanted)});
}

}  // namespace decant::model
