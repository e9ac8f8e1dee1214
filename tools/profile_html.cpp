// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_html.h"

#include <string_view>

namespace decant::tools {

/// tools/report/ in one piece, made by embed.cmake: what comes before the data, and after it.
extern const std::string_view kReportHead, kReportTail;

namespace {

using Json = nlohmann::ordered_json;

/// JSON that can stand in a script element. Only strings have a '<', and none may begin a tag: neither "</script" nor
/// "<!--" can come up.
std::string script_json(const Json& json) {
  const std::string plain = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string text;
  text.reserve(plain.size());
  for (const char c : plain) {
    if (c == '<')
      text += "\\u003c";
    else
      text += c;
  }
  return text;
}

}  // namespace

std::string profile_html(const Json& report, const Json* other, const Json* comparison) {
  std::string page(kReportHead);
  page += "{\"report\":" + script_json(report);
  page += ",\"other\":" + (other ? script_json(*other) : "null");
  page += ",\"comparison\":" + (comparison ? script_json(*comparison) : "null") + "}";
  page += kReportTail;
  return page;
}

}  // namespace decant::tools
