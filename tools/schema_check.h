// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace decant::tools {

/// What of a value contradicts a schema.
struct SchemaFault {
  std::string path;  ///< "runs[0].token.ms_p50"
  std::string text;  ///< "should be a number, is a string"
};

/// The first fault of a value, if there is one. Fields that the schema doesn't name are taken: a later version may have
/// added them. Never goes deeper into the value than the schema does.
///
/// schema: of our own, JSON Schema draft 7, with these words: $ref (into definitions), anyOf (the last one is told of
/// in a fault), type, const, enum, minimum, exclusiveMinimum, maximum, required, properties, items (one for all),
/// minItems, maxItems. A number in a schema is one; any other word is a comment.
std::optional<SchemaFault> check_schema(const nlohmann::ordered_json& value, const nlohmann::json& schema);

}  // namespace decant::tools
