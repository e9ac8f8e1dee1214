// SPDX-License-Identifier: Apache-2.0
#include "tools/schema_check.h"

#include <cmath>

#include "decant/detail/format.h"

namespace decant::tools {
namespace {

using Value = nlohmann::ordered_json;
using Schema = nlohmann::json;
using Fault = std::optional<SchemaFault>;

std::string number(double value) { return detail::format("{:.17g}", value); }

std::string type_name(const Value& value) {
  switch (value.type()) {
    case Value::value_t::null:
      return "null";
    case Value::value_t::object:
      return "an object";
    case Value::value_t::array:
      return "an array";
    case Value::value_t::string:
      return "a string";
    case Value::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Value::value_t::number_integer:
    case Value::value_t::number_unsigned:
    case Value::value_t::number_float:
      return number(value.get<double>());
    default:
      return "something else";
  }
}

/// "a number" for "number".
std::string with_article(const std::string& type) {
  if (type == "null") return type;
  if (type == "boolean") return "true or false";
  return (type == "array" || type == "object" || type == "integer" ? "an " : "a ") + type;
}

bool has_type(const Value& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number() && std::nearbyint(value.get<double>()) == value.get<double>();
  return false;
}

class Checker {
 public:
  explicit Checker(const Schema& root) : root_(root) {}

  Fault check(const Value& value, const Schema& schema) const {
    if (const auto ref = schema.find("$ref"); ref != schema.end()) {
      const std::string pointer = ref->get<std::string>().substr(1);  // "#/definitions/run"
      return check(value, root_.at(Schema::json_pointer(pointer)));
    }
    if (const auto any = schema.find("anyOf"); any != schema.end()) {
      Fault fault;
      for (const Schema& one : *any)
        if (fault = check(value, one); !fault) return {};
      return fault;
    }
    if (Fault fault = check_type(value, schema)) return fault;
    if (value.is_number()) return check_number(value.get<double>(), schema);
    if (value.is_string()) return check_text(value, schema);
    if (value.is_array()) return check_array(value, schema);
    if (value.is_object()) return check_object(value, schema);
    return {};
  }

 private:
  static Fault check_type(const Value& value, const Schema& schema) {
    const auto type = schema.find("type");
    if (type == schema.end()) return {};
    if (type->is_string()) {
      const auto& name = type->get_ref<const std::string&>();
      if (has_type(value, name)) return {};
      return SchemaFault{"", detail::format("should be {}, is {}", with_article(name), type_name(value))};
    }
    std::string names;
    for (const Schema& name : *type) {
      if (has_type(value, name.get_ref<const std::string&>())) return {};
      names += (names.empty() ? "" : " or ") + with_article(name.get<std::string>());
    }
    return SchemaFault{"", detail::format("should be {}, is {}", names, type_name(value))};
  }

  static Fault check_number(double value, const Schema& schema) {
    const auto fails = [&](const char* word, const auto& holds) {
      const auto bound = schema.find(word);
      return bound != schema.end() && !holds(bound->get<double>()) ? std::optional(bound->get<double>()) : std::nullopt;
    };
    const auto fault = [&](const char* wanted, double bound) {
      return SchemaFault{"", detail::format("should be {} {}, is {}", wanted, number(bound), number(value))};
    };
    if (const auto bound = fails("const", [&](double wanted) { return value == wanted; })) return fault("just", *bound);
    if (const auto bound = fails("minimum", [&](double low) { return value >= low; })) return fault("at least", *bound);
    if (const auto bound = fails("exclusiveMinimum", [&](double low) { return value > low; }))
      return fault("above", *bound);
    if (const auto bound = fails("maximum", [&](double high) { return value <= high; }))
      return fault("at most", *bound);
    return {};
  }

  static Fault check_text(const Value& value, const Schema& schema) {
    const auto& text = value.get_ref<const std::string&>();
    if (schema.contains("minLength") && text.empty()) return SchemaFault{"", "should not be empty"};
    const auto words = schema.find("enum");
    if (words == schema.end()) return {};
    std::string names;
    for (const Schema& word : *words) {
      if (word == text) return {};
      names += (names.empty() ? "" : ", ") + word.get<std::string>();
    }
    return SchemaFault{"", "should be one of " + names};
  }

  Fault check_array(const Value& value, const Schema& schema) const {
    const auto least = schema.find("minItems"), most = schema.find("maxItems");
    if (least != schema.end() && value.size() < least->get<size_t>())
      return SchemaFault{"", detail::format("should have {} or more, has {}", least->get<size_t>(), value.size())};
    if (most != schema.end() && value.size() > most->get<size_t>())
      return SchemaFault{"", detail::format("should have {} or fewer, has {}", most->get<size_t>(), value.size())};
    const auto items = schema.find("items");
    if (items == schema.end()) return {};
    size_t index = 0;
    for (const Value& item : value) {
      if (Fault fault = check(item, *items)) return within(detail::format("[{}]", index), std::move(*fault));
      ++index;
    }
    return {};
  }

  Fault check_object(const Value& value, const Schema& schema) const {
    if (const auto required = schema.find("required"); required != schema.end())
      for (const Schema& key : *required)
        if (!value.contains(key.get_ref<const std::string&>())) return SchemaFault{key, "is missing"};
    const auto properties = schema.find("properties");
    if (properties == schema.end()) return {};
    for (const auto& [key, field] : properties->items())
      if (const auto found = value.find(key); found != value.end())
        if (Fault fault = check(*found, field)) return within(key, std::move(*fault));
    return {};
  }

  static SchemaFault within(const std::string& outer, SchemaFault fault) {
    const bool plain = fault.path.empty() || fault.path.front() == '[';
    return {outer + (plain ? "" : ".") + fault.path, std::move(fault.text)};
  }

  const Schema& root_;
};

}  // namespace

Fault check_schema(const Value& value, const Schema& schema) { return Checker(schema).check(value, schema); }

}  // namespace decant::tools
