// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_html.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

namespace decant::test {
namespace {

using Json = nlohmann::ordered_json;

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// The page's data, as its script reads it.
Json data_of(const std::string& page) {
  const std::string_view begin = "id=\"data\">";
  const size_t from = page.find(begin) + begin.size();
  return Json::parse(page.substr(from, page.find("</script>", from) - from));
}

}  // namespace

TEST_CASE("profile_html: the page holds both reports and their comparison, and null where there is none") {
  const Json report = {{"version", 1}, {"runs", Json::array()}};
  const Json other = {{"version", 1}, {"decant", "other"}};
  const Json comparison = {{"notes", {"differs"}}};
  const Json alone = data_of(tools::profile_html(report, nullptr, nullptr));
  CHECK(alone["report"] == report);
  CHECK(alone["other"].is_null());
  CHECK(alone["comparison"].is_null());
  const Json both = data_of(tools::profile_html(report, &other, &comparison));
  CHECK(both["report"] == report);
  CHECK(both["other"] == other);
  CHECK(both["comparison"] == comparison);
}

TEST_CASE("profile_html: no string or name of the data ends the script or begins a tag") {
  const std::string hostile = "</script><!--<script><img src=x onerror=alert(1)>";
  const std::string plain = tools::profile_html(Json::object(), nullptr, nullptr);
  const Json report = {{"model", {{"path", hostile}}}, {hostile, 1}};
  const std::string page = tools::profile_html(report, &report, &report);
  for (const std::string_view part : {"</script", "<script", "<img", "<!--"})
    CHECK(count(page, part) == count(plain, part));
  CHECK(data_of(page)["report"] == report);
}

TEST_CASE("profile_html: bytes that are no UTF-8 are replaced") {
  const Json report = {{"model",
                        {{"path",
                          "a\xff"
                          "b"}}}};
  CHECK(data_of(tools::profile_html(report, nullptr, nullptr))["report"]["model"]["path"] == "a\uFFFDb");
}

TEST_CASE("profile_html: the page allows its own style and script, by their hashes, and nothing else") {
  const std::string page = tools::profile_html(Json::object(), nullptr, nullptr);
  CHECK(count(page, "default-src 'none'; style-src 'sha256-") == 1);
  CHECK(count(page, "; script-src 'sha256-") == 1);
  for (const std::string_view part :
       {"unsafe", "http:", "https:", "src=", "href=\"/", "eval(", "innerHTML", "@STYLE", "@SCRIPT", "@DATA"})
    CHECK_MESSAGE(count(page, part) == (part == "http:" ? 1 : 0), part);  // the name of SVG's namespace
}

}  // namespace decant::test
