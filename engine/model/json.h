// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "decant/result.h"

#include "engine/json_document.h"

namespace decant::model {

using Json = nlohmann::json;

/// Parses the text of a file. `bad_format` if it isn't JSON, isn't an object, names a key twice in one object, or is
/// nested more than kMaxJsonDepth levels deep.
Result<JsonDocument> parse_json_object(std::string_view text, const std::string& path);
Result<JsonDocument> read_json_object(const std::string& path);

/// Typed access to the fields of an object. A field that is missing or null is empty; one of the wrong type is an error
/// that is kept until status() is asked, so that many fields can be read in a row.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  /// The field unless it is missing or null.
  const Json* find(const char* key) const;
  bool has(const char* key) const { return object_.contains(key); }
  std::optional<int64_t> integer(const char* key);
  std::optional<double> number(const char* key);
  std::optional<bool> boolean(const char* key);
  std::optional<std::string> text(const char* key);
  /// As integer(), but a missing field is an error.
  int64_t required_integer(const char* key);

  void fail(Error error);
  const std::string& path() const noexcept { return path_; }
  const Status& status() const noexcept { return status_; }

 private:
  void wrong_type(const char* key, const char* wanted);

  const Json& object_;
  std::string path_;
  Status status_;
};

}  // namespace decant::model
