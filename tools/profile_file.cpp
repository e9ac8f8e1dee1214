// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_file.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

#include "engine/model/input_file.h"
#include "engine/model/printable.h"
#include "tools/schema_check.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMostBytes = uint64_t{64} << 20;  ///< millions of tokens
constexpr int kDeepest = 32;                         ///< a report has about ten levels
constexpr size_t kMostKeys = 1000;                   ///< of an object, whose keys are searched one by one

/// Parses, and refuses what would take more memory or time than its length: deep nesting, objects of many keys.
Result<Json> parse(const std::string& text) {
  std::vector<size_t> n_keys;  // of the objects that are open
  bool too_deep = false, too_wide = false;
  const Json::parser_callback_t watch = [&](int depth, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::object_start) n_keys.push_back(0);
    if (event == Json::parse_event_t::object_end) n_keys.pop_back();
    if (event == Json::parse_event_t::key && ++n_keys.back() > kMostKeys) too_wide = true;
    if (depth > kDeepest) too_deep = true;
    return !too_deep && !too_wide;
  };
  try {
    Json root = Json::parse(text, watch);
    if (too_deep) return Error{ErrorCode::bad_format, "is nested too deeply for a report"};
    if (too_wide) return Error{ErrorCode::bad_format, "has an object with too many keys for a report"};
    return root;
  } catch (const Json::exception& error) {
    std::string what = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 1: …"
    if (const size_t end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
    return Error{ErrorCode::bad_format, "is not JSON: " + model::printable(what)};
  }
}

/// What a schema can't say: "runs[0].itl_ms has 3 numbers for …".
std::optional<std::string> fault_of_run(const Json& run, const Json& options) {
  const auto n_tokens = options["n_tokens"].get<size_t>(), repeat = options["repeat"].get<size_t>();
  const size_t n_latencies = run["itl_ms"].size(), n_first = run["ttft_ms"].size();
  if (n_latencies % n_tokens != 0 || n_latencies / n_tokens != repeat)
    return detail::format("itl_ms has {} numbers for {} rounds of {} tokens", n_latencies, repeat, n_tokens);
  if (n_first != 0 && n_first != repeat) return detail::format("ttft_ms has {} numbers for {} rounds", n_first, repeat);
  if (const size_t n = run["bandwidth_rounds_gb_per_s"].size(); n != repeat)
    return detail::format("bandwidth_rounds_gb_per_s has {} numbers for {} rounds", n, repeat);
  const Json& histogram = run["histogram"];
  if (const size_t n = histogram["counts"].size(); n != histogram["bounds_s"].size() + 1)
    return detail::format("histogram.counts has {} numbers for {} bounds", n, histogram["bounds_s"].size());
  const Json& layers = run["layers"];
  for (size_t i = 0; i < layers["ns"].size(); ++i)
    if (const size_t n = layers["ns"][i].size(); n != layers["ops"].size())
      return detail::format("layers.ns[{}] has {} numbers for {} operations", i, n, layers["ops"].size());
  for (const char* const list : {"ops", "other"}) {
    std::set<std::string> names;
    for (const Json& part : run[list])
      if (const auto& name = part["name"].get_ref<const std::string&>(); !names.insert(name).second)
        return detail::format("{} has '{}' twice", list, model::printable(name));
  }
  return {};
}

std::optional<std::string> fault_of(const Json& report) {
  std::set<std::pair<int, int>> pairs;
  size_t index = 0;
  for (const Json& run : report["runs"]) {
    const int threads = run["threads"].get<int>(), depth = run["depth"].get<int>();
    if (!pairs.emplace(threads, depth).second)
      return detail::format("runs[{}]: {} threads at depth {} are there twice", index, threads, depth);
    if (std::optional<std::string> fault = fault_of_run(run, report["options"]))
      return detail::format("runs[{}].{}", index, *fault);
    ++index;
  }
  return {};
}

}  // namespace

Result<Json> read_profile(const std::string& path) {
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::bad_format, detail::format("{}: {}", path, what)};
  };
  {
    const Result<model::InputFile> file = model::InputFile::open(path);
    if (!file) return file.error();
    if (file->size_bytes() > kMostBytes)
      return Error{ErrorCode::unsupported,
                   detail::format("{}: has {} bytes, a report may have {}", path, file->size_bytes(), kMostBytes)};
  }
  Result<std::string> text = model::read_text(path);
  if (!text) return text.error();
  Result<Json> report = parse(*text);
  if (!report) return bad(report.error().message);
  if (!report->is_object()) return bad("is not a report of decant profile");
  const auto version = report->find("version");
  if (version == report->end()) return bad("version is missing: not a report of decant profile");
  if (version->is_number() && *version != kProfileVersion)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: version is {}, this program reads {}", path, version->dump(), kProfileVersion)};
  if (const std::optional<SchemaFault> fault = check_schema(*report, nlohmann::json::parse(profile_schema())))
    return bad(detail::format("{} {}", fault->path, fault->text));
  if (const std::optional<std::string> fault = fault_of(*report)) return bad(*fault);
  return report;
}

}  // namespace decant::tools
