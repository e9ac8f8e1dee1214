// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "tools/args.h"
#include "tools/output.h"
#include "tools/output_file.h"
#include "tools/profile_compare.h"
#include "tools/profile_html.h"
#include "tools/profile_report.h"
#include "tools/profile_run.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

/// Where the report goes beside the terminal.
struct ReportPaths {
  std::optional<std::string> json, html, trace;
  bool csv = false;

  /// How many of them want standard output, which then has no table.
  int n_on_output() const {
    const auto is_output = [](const std::optional<std::string>& path) { return path == "-" ? 1 : 0; };
    return is_output(json) + is_output(html) + is_output(trace) + (csv ? 1 : 0);
  }

  /// A file that two of these, or of `others`, name.
  std::optional<std::string> named_twice(std::vector<std::string> others) const {
    for (const std::optional<std::string>& path : {json, html, trace})
      if (path && *path != "-") others.push_back(*path);
    std::sort(others.begin(), others.end());
    const auto twice = std::adjacent_find(others.begin(), others.end());
    return twice == others.end() ? std::nullopt : std::optional(*twice);
  }
};

/// A file that is opened before the measuring, so that a wrong name is told at once, and written after it.
class ReportFile {
 public:
  Status open(const std::optional<std::string>& path) {
    wanted_ = path.has_value();
    return wanted_ ? file_.open(*path) : Status();
  }
  template <typename Text>
  Status write(const Text& text) {
    if (!wanted_) return {};
    const std::string bytes = text();
    if (Status written = file_.write(std::as_bytes(std::span(bytes))); !written) return written;
    return file_.commit();
  }

 private:
  bool wanted_ = false;
  OutputFile file_;
};

std::string json_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

/// A list of numbers within bounds.
Reader numbers(std::vector<int32_t>& out, int low, int high) {
  return [&out, low, high](const std::string& text) -> std::string {
    const std::optional<std::vector<int32_t>> values = parse_ids(text);
    const auto outside = [low, high](int32_t value) { return value < low || value > high; };
    if (!values || values->empty() || std::any_of(values->begin(), values->end(), outside))
      return detail::format("needs whole numbers from {} to {} such as 1,2, not '{}'", low, high, text);
    out.clear();
    for (const int32_t value : *values)  // each once
      if (std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
    return {};
  };
}

/// A whole run, written wherever it was asked for.
int measure(const ProfileTask& task, const ReportPaths& paths) {
  const Interrupts interrupts;
  ReportFile json, html, trace;
  for (const auto& [file, path] : {std::pair(&json, &paths.json), {&html, &paths.html}, {&trace, &paths.trace}})
    if (const Status opened = file->open(*path); !opened) return fail("profile", opened.error(), interrupts);
  const Result<ProfileReport> report = measure_profile(task, interrupts);
  if (!report) return fail("profile", report.error(), interrupts);
  Output out;
  if (paths.csv) out.write(profile_csv(*report));
  if (paths.n_on_output() == 0) out.write(profile_table(*report, out.is_terminal()));
  const Json as_json = profile_json(*report);
  for (const Status& written : {json.write([&] { return json_line(as_json); }),
                                html.write([&] { return profile_html(as_json, nullptr, nullptr); }),
                                trace.write([&] { return profile_trace(*report); })})
    if (!written) return fail("profile", written.error(), interrupts);
  return out.status("profile");
}

int compare(const std::vector<std::string>& paths, const ReportPaths& report_paths) {
  const Interrupts interrupts;
  ReportFile html;
  if (const Status opened = html.open(report_paths.html); !opened) return fail("profile", opened.error(), interrupts);
  const Result<Comparison> compared = compare_profiles(paths.front(), paths.back());
  if (!compared) return fail("profile", compared.error(), interrupts);
  Output out;
  if (report_paths.n_on_output() == 0) out.write(comparison_table(compared->comparison));
  const Status written = html.write([&] { return profile_html(compared->a, &compared->b, &compared->comparison); });
  if (!written) return fail("profile", written.error(), interrupts);
  return out.status("profile");
}

}  // namespace

int cmd_profile(const Words& words) {
  Arguments arguments("profile", "Shows where each nanosecond of a token goes, beside what the memory could deliver.");
  ProfileTask task;
  ReportPaths paths;
  std::vector<std::string> compared;
  task.model.declare_model(arguments);
  arguments.option(
      "--synthetic", "SHAPE:TYPE",
      [&task](const std::string& text) -> std::string {
        Result<Synthetic> synthetic = parse_synthetic(text);
        if (!synthetic) return synthetic.error().message;
        task.synthetic = std::move(*synthetic);
        task.synthetic_name = text;
        return {};
      },
      "Random weights instead of a model, such as llama-1b:q4_0; 'decant help synth' lists shapes and types");
  arguments.option("--threads", "1,2", numbers(task.threads, 1, 1024),
                   "Thread counts to measure (default: the cores this process may use)");
  arguments.option("--depths", "0,4096", numbers(task.depths, 0, 1 << 24),
                   "Tokens that are in the cache when decoding begins (default: 0)");
  arguments.integer("-n", task.n_tokens, 1, 1 << 20, "Tokens to decode in each round (default: 64)");
  arguments.text("--prompt", "TEXT", task.prompt, "The prompt whose first token is timed at each depth");
  arguments.integer("--prompt-tokens", task.n_prompt_tokens, 0, 1 << 20,
                    "Made-up tokens instead (default: 512, or what the context holds); 0: no prompt");
  arguments.integer("--repeat", task.repeat, 1, 1000, "Rounds of each measurement (default: 3)");
  arguments.flag("--counters", task.counters,
                 "Also cycles, instructions, cache and TLB misses, where the system permits");
  task.model.declare_computation(arguments);
  arguments.text("--json", "FILE", paths.json,
                 "Everything, for programs; '-' is standard output, instead of the table");
  arguments.flag("--csv", paths.csv, "One line a run on standard output, instead of the table");
  arguments.text("--html", "FILE", paths.html, "A page with charts, for a browser; needs no network");
  arguments.text("--trace", "FILE", paths.trace, "Chrome trace events, for ui.perfetto.dev");
  arguments.pair("--compare", "FILE", compared, "Compare two files of --json instead; with --html as a page too");
  arguments.note(
      "Before each round memory is read by as many threads; 'of memory' is what a token read of that. A context of a\n"
      "depth is made of random keys and values, not computed; the prompt that is measured follows it. "
      "tools/profiling.md\n"
      "explains every figure.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (task.model.model && task.synthetic) return usage_error("profile", "-m and --synthetic can't both be given");
  if (task.prompt && task.n_prompt_tokens)
    return usage_error("profile", "--prompt and --prompt-tokens can't both be given");
  if (task.prompt && task.prompt->empty()) return usage_error("profile", "--prompt needs some text");
  if (const std::optional<std::string> path = paths.named_twice(compared))
    return usage_error("profile", detail::format("{} is named twice", *path));
  if (paths.n_on_output() > 1) return usage_error("profile", "only one report can go to standard output");
  if (compared.empty()) return measure(task, paths);
  if (task.model.model || task.synthetic || task.prompt || task.n_prompt_tokens || !task.threads.empty() ||
      task.counters || paths.json || paths.trace || paths.csv)
    return usage_error("profile", "--compare measures nothing; only --html goes with it");
  return compare(compared, paths);
}

}  // namespace decant::tools
