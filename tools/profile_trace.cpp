// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <map>

#include "decant/detail/format.h"

#include "tools/profile_report.h"
#include "tools/profile_spans.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kTokenLane = 0;  ///< threads follow it

/// The events of the trace as text, one a line.
class Trace {
 public:
  explicit Trace(int64_t origin_ns) : origin_ns_(origin_ns) {}

  void slice(int process, int lane, const char* name, int64_t begin_ns, int64_t ns, const std::string& args = {}) {
    // Nanoseconds as a decimal fraction of microseconds: exact, so that what nests in time nests in the file.
    const auto us = [](int64_t t) { return detail::format("{}.{:03}", t / 1000, t % 1000); };
    line(detail::format(R"({{"ph":"X","pid":{},"tid":{},"name":"{}","ts":{},"dur":{}{}}})", process, lane, name,
                        us(begin_ns - origin_ns_), us(ns), args.empty() ? "" : ",\"args\":{" + args + "}"));
  }

  void name(const char* what, int process, int lane, const std::string& name) {
    const Json event = {{"ph", "M"}, {"pid", process}, {"tid", lane}, {"name", what}, {"args", {{"name", name}}}};
    line(event.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  std::string text() && { return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + std::move(lines_) + "\n]}\n"; }

 private:
  void line(const std::string& event) {
    if (!lines_.empty()) lines_ += ",\n";
    lines_ += event;
  }

  int64_t origin_ns_;
  std::string lines_;
};

void add_step(Trace& trace, int process, const profile::Recording& recording, const profile::RecordedStep& step) {
  if (step.n_ops == 0) return;
  int lane = kTokenLane;
  for (const profile::RecordedThread& thread : recording.threads(step)) {
    ++lane;
    for_each_span(recording, step, thread, [&](const char* name, int layer, int64_t begin_ns, int64_t end_ns, bool) {
      trace.slice(process, lane, name, step.begin_ns + begin_ns, end_ns - begin_ns,
                  layer < 0 ? "" : detail::format("\"layer\":{}", layer));
    });
  }
  int64_t at = step.end_ns();
  const auto after = [&](const char* name, int64_t ns) {
    if (ns > 0) trace.slice(process, kTokenLane + 1, name, at, ns);
    at += ns;
  };
  after("profiler", step.profiler_ns);
  after("detokenize", step.detokenize_ns);
  after("callback", step.callback_ns);
}

void add_samples(Trace& trace, int process, const profile::Recording& recording,
                 const std::vector<profile::Sample>& samples, const char* what, int depth) {
  size_t round_begin = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const profile::RecordedStep& first = recording.steps()[samples[i].first_step];
    if (i > 0 && first.round != recording.steps()[samples[i - 1].first_step].round) round_begin = i;
    const profile::RecordedStep& last = recording.steps()[samples[i].first_step + samples[i].n_steps - 1];
    const int64_t end_ns = last.end_ns() + last.profiler_ns + last.detokenize_ns + last.callback_ns;
    trace.slice(process, kTokenLane, what, first.begin_ns, end_ns - first.begin_ns,
                detail::format(R"("depth":{},"round":{},"number":{})", depth, first.round, i - round_begin));
    for (size_t step = 0; step < samples[i].n_steps; ++step)
      add_step(trace, process, recording, recording.steps()[samples[i].first_step + step]);
  }
}

int64_t origin(const ProfileReport& report) {
  int64_t first = std::numeric_limits<int64_t>::max();
  const auto look = [&](const profile::Recording& recording) {
    if (!recording.steps().empty()) first = std::min(first, recording.steps().front().begin_ns);
  };
  for (const ProfileRun& run : report.runs) {
    look(run.steps);
    if (run.prefill) look(run.prefill->steps);
  }
  return first;
}

}  // namespace

std::string profile_trace(const ProfileReport& report) {
  Trace trace(origin(report));
  std::map<int, bool> named;
  for (const ProfileRun& run : report.runs) {
    const int process = run.facts.n_threads;
    if (!std::exchange(named[process], true)) {
      trace.name("process_name", process, kTokenLane,
                 detail::format("{}, {} thread{}", report.model.path, process, process == 1 ? "" : "s"));
      trace.name("thread_name", process, kTokenLane, "tokens");
      for (int thread = 0; thread < process; ++thread)
        trace.name("thread_name", process, thread + 1,
                   thread == 0 ? "thread 0 (calls step)" : detail::format("thread {}", thread));
    }
    add_samples(trace, process, run.steps, run.samples, "token", run.facts.depth);
    if (run.prefill) add_samples(trace, process, run.prefill->steps, run.prefill->samples, "prompt", run.facts.depth);
  }
  return std::move(trace).text();
}

}  // namespace decant::tools
