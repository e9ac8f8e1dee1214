// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace decant {

/// Levels of nesting that a text of JSON has.
inline int json_depth(std::string_view text) noexcept {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest) deepest = depth;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

/// Levels that are read: published files have some 8. What walks a document can't overflow the stack then.
inline constexpr int kMaxJsonDepth = 64;

/// The root of a document, of at most kMaxJsonDepth levels. The library's own destructor takes memory for what lies
/// deeper, and ends the process where there is none: here the leaves go first, so that it never needs any.
class JsonDocument : public nlohmann::json {
 public:
  JsonDocument() = default;
  JsonDocument(nlohmann::json&& root) noexcept : nlohmann::json(std::move(root)) {}  // NOLINT: implicit by design
  JsonDocument(JsonDocument&& other) noexcept : nlohmann::json(static_cast<nlohmann::json&&>(other)) {}
  JsonDocument& operator=(JsonDocument&& other) noexcept {
    nlohmann::json::operator=(static_cast<nlohmann::json&&>(other));
    return *this;
  }
  ~JsonDocument() { empty_out(*this); }

 private:
  static void empty_out(nlohmann::json& value) noexcept {
    if (auto* const array = value.get_ptr<array_t*>()) {
      for (nlohmann::json& item : *array) empty_out(item);
      array->clear();
    } else if (auto* const object = value.get_ptr<object_t*>()) {
      for (auto& [key, item] : *object) empty_out(item);
      object->clear();
    }
  }
};

}  // namespace decant
