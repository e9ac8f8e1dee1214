// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "decant/result.h"

#include "engine/json_document.h"

namespace decant::tokenizer {

using Json = nlohmann::json;

/// How reading a tokenizer.json ends early. Thrown and caught within this folder only.
struct Refusal {
  Error error;
};

[[noreturn]] void refuse(ErrorCode code, std::string message);

/// The value, or a Refusal.
template <typename T>
T take(Result<T> result) {
  if (!result) throw Refusal{std::move(result).error()};
  return std::move(result).value();
}
inline void take(const Status& status) {
  if (!status) throw Refusal{status.error()};
}

/// Parses a document whose nesting is bounded, so that nothing that walks it can overflow the stack.
JsonDocument parse_json(std::string_view text);

/// Members of an object; `where` names it in messages. An absent or null member is the fallback where there is one.
const Json* member(const Json& object, const char* key);  ///< null if absent or null
const Json& required(const Json& object, const char* key, const char* where);
bool read_bool(const Json& object, const char* key, bool fallback, const char* where);
std::string read_string(const Json& object, const char* key, const char* where);
int64_t read_integer(const Json& value, const char* where);
/// An object's "type"; refused if it isn't an object with one.
std::string type_of(const Json& object, const char* where);

}  // namespace decant::tokenizer
