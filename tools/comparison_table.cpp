// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "decant/detail/format.h"

#include "tools/profile_compare.h"
#include "tools/report_text.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

/// wrapped(), with words that are too long for a line shortened.
std::string fitted(const std::string& first, const std::string& text) {
  std::istringstream words(text);
  std::string all;
  for (std::string word; words >> word;) {
    if (!all.empty()) all += ' ';
    all += shortened(word, kReportColumns - first.size());
  }
  return wrapped(first, all);
}

const char* label(const std::string& name) {
  if (name == "ms_p50") return "token, median";
  if (name == "ms_p99") return "token, p99";
  if (name == "ttft_ms") return "first token";
  if (name == "tokens_per_s") return "tokens a second";
  if (name == "bandwidth_gb_per_s") return "memory";
  if (name == "bandwidth_share") return "share of memory's";
  return name.c_str();
}

std::string microseconds(const Json& ns) {
  return ns.is_null() ? "-" : detail::format("{:.1f}", ns.get<double>() / 1e3);
}

std::string operation_line(const Json& op) {
  std::string difference;
  if (!op["a_ns"].is_null() && !op["b_ns"].is_null()) {
    const double a = op["a_ns"].get<double>(), b = op["b_ns"].get<double>();
    difference = detail::format("{:>+12.1f}", (b - a) / 1e3);
    if (a > 0.0) difference += detail::format(" {:>+8.1f} %", 100.0 * (b / a - 1.0));
  }
  std::string line = detail::format("  {:<18}{:>12} {:>12} {}", shortened(op["name"].get<std::string>(), 18),
                                    microseconds(op["a_ns"]), microseconds(op["b_ns"]), difference);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string name_of(const Json& run) { return run_name(run["threads"].get<int>(), run["depth"].get<int>()); }

std::string places(const char* what, const Json& runs) {
  std::string text;
  for (const Json& run : runs) text += (text.empty() ? "" : "; ") + name_of(run);
  return text.empty() ? text : fitted(detail::format("only in {}: ", what), text);
}

}  // namespace

std::string comparison_table(const Json& comparison) {
  std::string text;
  for (const char* const side : {"a", "b"})
    text += detail::format("{}  {}\n", *side == 'a' ? 'A' : 'B',
                           shortened(comparison[side]["path"].get<std::string>(), kReportColumns - 3));
  if (!comparison["notes"].empty()) text += "\n";
  for (const Json& note : comparison["notes"]) text += fitted("- ", note.get<std::string>());
  for (const Json& run : comparison["runs"]) {
    text += detail::format("\n{}\n", name_of(run));
    for (const Json& figure : run["figures"])
      text += fitted(detail::format("  {:<18}", label(figure["name"].get_ref<const std::string&>())),
                     figure["text"].get<std::string>());
    text += detail::format("\n  {:<18}{:>12} {:>12} {:>12}\n", "us a token", "A", "B", "B - A");
    for (const char* const list : {"ops", "other"})
      for (const Json& op : run[list]) text += operation_line(op);
  }
  const std::string only = places("A", comparison["only_a"]) + places("B", comparison["only_b"]);
  if (!only.empty()) text.append("\n").append(only);
  text.append("\n").append(
      wrapped("",
              "In brackets: a 95 % interval of the change from A to B, by a bootstrap over rounds and "
              "tokens. Operations are single figures, without one."));
  return text;
}

}  // namespace decant::tools
