// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

#include "engine/model/printable.h"
#include "engine/profile/bootstrap.h"
#include "tools/profile_file.h"
#include "tools/report_text.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;
using profile::ratio_interval;
using profile::RatioInterval;
using profile::Rounds;

constexpr double kDrift = 0.03;  ///< of the bandwidth, from which on times of two reports can't be compared

/// What more of a figure means.
enum class More { slower, faster, neither };

struct Unit {
  const char* name;
  double scale = 1.0;  ///< to what people read
};

/// Three digits or more that count, without an exponent where people can do without.
std::string digits(double value) {
  if (value < 0.9995) return detail::format("{:#.3g}", value);
  return detail::format("{:.{}f}", value, value < 9.995 ? 2 : value < 999.95 ? 1 : 0);
}

/// A change of a share p: "8.5", "0.42".
std::string percent(double p) { return detail::format("{:.{}f}", 100.0 * p, std::abs(p) < 0.00995 ? 2 : 1); }
std::string signed_percent(double p) { return detail::format("{:+.1f}", 100.0 * p); }

/// "8.5 % faster (7.0 to 10.1)".
std::string change(const RatioInterval& interval, More more) {
  if (!interval.enough) return "too few measurements to tell";
  const double low = interval.low - 1.0, point = interval.ratio - 1.0, high = interval.high - 1.0;
  if (!interval.differs())
    return detail::format("no difference beyond the noise ({} to {} %)", signed_percent(low), signed_percent(high));
  const bool grew = interval.ratio > 1.0;
  const char* const word = more == More::slower ? (grew ? "slower" : "faster") : (grew ? "more" : "less");
  return detail::format("{} % {} ({} to {})", percent(std::abs(point)), word, percent(grew ? low : -high),
                        percent(grew ? high : -low));
}

Json figure(const char* name, const Unit& unit, const RatioInterval& interval, More more) {
  const std::string suffix = *unit.name == '\0' ? "" : std::string(" ") + unit.name;
  Json json;
  json["name"] = name;
  json["unit"] = unit.name;
  json["a"] = interval.a * unit.scale;
  json["b"] = interval.b * unit.scale;
  json["ratio"] = interval.ratio;
  json["low"] = interval.low;
  json["high"] = interval.high;
  json["enough"] = interval.enough;
  json["differs"] = interval.differs();
  json["better"] = nullptr;
  if (interval.differs() && more != More::neither)
    json["better"] = (interval.ratio > 1.0) == (more == More::faster) ? "b" : "a";
  json["text"] = detail::format("{}{} → {}{}: {}", digits(interval.a * unit.scale), suffix,
                                digits(interval.b * unit.scale), suffix, change(interval, more));
  return json;
}

/// Of scale_a / a and scale_b / b: a rate from a time.
RatioInterval inverse(const RatioInterval& of, double scale_a, double scale_b) {
  const double scale = scale_b / scale_a;
  RatioInterval out;
  out.a = scale_a / of.a;
  out.b = scale_b / of.b;
  out.ratio = scale / of.ratio;
  out.low = scale / of.high;
  out.high = scale / of.low;
  out.enough = of.enough;
  return out;
}

/// Numbers of a run, `repeat` rounds one after the other.
Rounds rounds_of(const Json& numbers, size_t repeat) {
  Rounds rounds(repeat);
  const size_t n = numbers.size() / repeat;
  for (size_t i = 0; i < n * repeat; ++i) rounds[i / n].push_back(numbers[i].get<double>());
  return rounds;
}

/// One run of a report, its samples at hand.
struct Samples {
  Samples(const Json& run, size_t repeat)
      : latencies(rounds_of(run["itl_ms"], repeat)),
        first(rounds_of(run["ttft_ms"], repeat)),
        bandwidth(rounds_of(run["bandwidth_rounds_gb_per_s"], repeat)),
        bytes(run["token"]["bytes"].get<double>()) {}

  /// What memory could have delivered in the time of each token: its bytes over this are its share of the bandwidth.
  Rounds deliverable_bytes() const {
    Rounds all = latencies;
    for (size_t round = 0; round < all.size(); ++round)
      for (double& value : all[round]) value *= bandwidth[round].front() * 1e6;
    return all;
  }

  Rounds latencies, first, bandwidth;
  double bytes;
};

int prompt_tokens(const Json& run) { return run["prefill"].is_null() ? 0 : run["prefill"]["n_tokens"].get<int>(); }

Json operations(const Json& a, const Json& b) {
  std::map<std::string_view, const Json*> of_b;
  for (const Json& part : b) of_b.emplace(part["name"].get_ref<const std::string&>(), &part["ns"]);
  Json all = Json::array();
  for (const Json& part : a) {
    const auto& name = part["name"].get_ref<const std::string&>();
    const auto found = of_b.find(name);
    all.push_back({{"name", name}, {"a_ns", part["ns"]}, {"b_ns", found == of_b.end() ? Json() : *found->second}});
    if (found != of_b.end()) of_b.erase(found);
  }
  for (const Json& part : b)
    if (of_b.contains(part["name"].get_ref<const std::string&>()))
      all.push_back({{"name", part["name"]}, {"a_ns", nullptr}, {"b_ns", part["ns"]}});
  return all;
}

Json compare_runs(const Json& run_a, size_t repeat_a, const Json& run_b, size_t repeat_b, Json& notes) {
  const Samples a(run_a, repeat_a), b(run_b, repeat_b);
  const RatioInterval median = ratio_interval(a.latencies, b.latencies, 0.5);
  const RatioInterval bandwidth = ratio_interval(a.bandwidth, b.bandwidth, 0.5);
  Json json;
  json["threads"] = run_a["threads"];
  json["depth"] = run_a["depth"];
  Json& figures = json["figures"] = Json::array();
  figures.push_back(figure("ms_p50", {"ms"}, median, More::slower));
  figures.push_back(figure("ms_p99", {"ms"}, ratio_interval(a.latencies, b.latencies, 0.99), More::slower));
  if (!run_a["ttft_ms"].empty() && !run_b["ttft_ms"].empty() && prompt_tokens(run_a) == prompt_tokens(run_b))
    figures.push_back(figure("ttft_ms", {"ms"}, ratio_interval(a.first, b.first, 0.5), More::slower));
  figures.push_back(figure("tokens_per_s", {"tokens/s"}, inverse(median, 1e3, 1e3), More::faster));
  figures.push_back(figure("bandwidth_gb_per_s", {"GB/s"}, bandwidth, More::neither));
  if (bandwidth.differs() && std::abs(bandwidth.ratio - 1.0) > kDrift) {
    const RatioInterval deliverable = ratio_interval(a.deliverable_bytes(), b.deliverable_bytes(), 0.5);
    figures.push_back(figure("bandwidth_share", {"%", 100.0}, inverse(deliverable, a.bytes, b.bytes), More::faster));
    notes.push_back(detail::format(
        "{}: memory gave {} GB/s beside A and {} beside B, so times and rates can't be compared as they are; compare "
        "the shares of it",
        run_name(run_a["threads"].get<int>(), run_a["depth"].get<int>()), digits(bandwidth.a), digits(bandwidth.b)));
  }
  json["ops"] = operations(run_a["ops"], run_b["ops"]);
  json["other"] = operations(run_a["other"], run_b["other"]);
  return json;
}

std::string value_text(const Json& value) {
  if (!value.is_string()) return value.dump();
  return detail::format("'{}'", model::printable(value.get_ref<const std::string&>()));
}

/// A path that text and JSON can hold: whole, where it is fit for them.
std::string path_text(const std::string& path) {
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) { return (c & 0xe0) != 0 && c != 0x7f; });
  return plain && model::is_utf8(path) ? path : model::printable(path);
}

/// "what: cpu 'X' and 'Y', n_cpus 2 and 4"; nothing where all fields are alike.
void note_differences(const char* what, const Json& a, const Json& b, std::span<const char* const> fields,
                      Json& notes) {
  std::string differences;
  for (const char* const field : fields)
    if (a[field] != b[field])
      differences += detail::format("{}{} {}", differences.empty() ? "" : ", ", field,
                                    a[field].is_array() ? "" : value_text(a[field]) + " and " + value_text(b[field]));
  if (!differences.empty()) notes.push_back(detail::format("{}: {}", what, differences));
}

Json notes_on(const Json& a, const Json& b) {
  constexpr const char* kMachine[] = {"cpu",          "n_cpus", "n_threads",  "n_numa_nodes",
                                      "memory_bytes", "isa",    "huge_pages", "caches"};
  constexpr const char* kModel[] = {"name",      "architecture", "n_params",     "n_layers",   "d_model",
                                    "d_ff",      "n_heads",      "n_kv_heads",   "head_dim",   "vocab_size",
                                    "tied_head", "file_bytes",   "packed_bytes", "token_bytes"};
  constexpr const char* kOptions[] = {"k_type",      "v_type",        "isa",      "numerics",
                                      "pin_threads", "prompt_tokens", "n_tokens", "repeat"};
  constexpr const char* kProgram[] = {"decant"};
  Json notes = Json::array();
  note_differences("the machines differ", a["machine"], b["machine"], kMachine, notes);
  note_differences("the models differ", a["model"], b["model"], kModel, notes);
  note_differences("measured in another way", a["options"], b["options"], kOptions, notes);
  note_differences("measured by another version", a, b, kProgram, notes);
  if (a["options"]["repeat"] == 1 || b["options"]["repeat"] == 1)
    notes.push_back("with a single round the intervals don't hold what drifts from round to round; --repeat 5 does");
  return notes;
}

using Place = std::pair<int, int>;  // threads, depth

Place place_of(const Json& run) { return {run["threads"].get<int>(), run["depth"].get<int>()}; }

Json compare(const std::string& path_a, const Json& a, const std::string& path_b, const Json& b) {
  const auto repeat_a = a["options"]["repeat"].get<size_t>(), repeat_b = b["options"]["repeat"].get<size_t>();
  Json json;
  json["a"] = {{"path", path_text(path_a)}};
  json["b"] = {{"path", path_text(path_b)}};
  Json notes = notes_on(a, b);
  json["notes"] = Json::array();
  json["runs"] = json["only_a"] = json["only_b"] = Json::array();
  const auto place = [](const Json& run) { return Json{{"threads", run["threads"]}, {"depth", run["depth"]}}; };
  std::map<Place, const Json*> of_b;
  for (const Json& run : b["runs"]) of_b.emplace(place_of(run), &run);
  std::set<Place> of_a;
  for (const Json& run : a["runs"]) {
    of_a.insert(place_of(run));
    if (const auto found = of_b.find(place_of(run)); found != of_b.end())
      json["runs"].push_back(compare_runs(run, repeat_a, *found->second, repeat_b, notes));
    else
      json["only_a"].push_back(place(run));
  }
  for (const Json& run : b["runs"])
    if (!of_a.contains(place_of(run))) json["only_b"].push_back(place(run));
  if (json["runs"].empty()) notes.push_back("no run of A has the threads and the depth of one of B");
  json["notes"] = std::move(notes);
  return json;
}

}  // namespace

Result<Comparison> compare_profiles(const std::string& path_a, const std::string& path_b) {
  Result<Json> a = read_profile(path_a);
  if (!a) return a.error();
  Result<Json> b = read_profile(path_b);
  if (!b) return b.error();
  Json comparison = compare(path_a, *a, path_b, *b);
  return Comparison{std::move(*a), std::move(*b), std::move(comparison)};
}

}  // namespace decant::tools
