// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <optional>

#include "decant/detail/format.h"

#include "engine/profile/breakdown.h"

namespace decant::profile {
namespace {

/// A part of a token's time, and by how much it exceeds a typical one's.
struct Excess {
  std::string where;
  double ns = 0.0;
  double usual_ns = 0.0;
  std::optional<Op> op;
};

constexpr double kMost = 0.6;       ///< of an excess: one cause explains it
constexpr double kMostOfTwo = 0.8;  ///< two do, unless they are most of every token
const char* const kWaiting = "waiting";

std::string ms(double ns) { return detail::format("{:.{}f} ms", ns / 1e6, ns < 1e5 ? 3 : ns < 1e6 ? 2 : 1); }

/// " of layer 3", where one layer has most of it.
std::string layer_of(std::span<const OpProfile> ops, Op op, double excess_ns, const Breakdown& typical) {
  for (const OpProfile& one : ops) {
    if (one.op != op || one.layer < 0 || static_cast<size_t>(one.layer) >= typical.layer_work_ns.size()) continue;
    const double usual = typical.layer_work_ns[static_cast<size_t>(one.layer)][static_cast<size_t>(op)];
    if (static_cast<double>(one.end_ns - one.begin_ns - one.wait_ns) - usual >= kMost * excess_ns)
      return detail::format(" of layer {}", one.layer);
  }
  return {};
}

/// " for thread 1 in ffn_up of layer 3": where the calling thread waited longest, and who was last.
std::string waited_for(const Recording& recording, const RecordedStep& step) {
  const std::span<const OpProfile> ops = recording.ops(step);
  const auto longest = std::max_element(ops.begin(), ops.end(),
                                        [](const OpProfile& a, const OpProfile& b) { return a.wait_ns < b.wait_ns; });
  const auto op = static_cast<int>(longest - ops.begin());
  size_t last = 0;
  int64_t end = -1;
  const std::span<const RecordedThread> threads = recording.threads(step);
  for (size_t thread = 1; thread < threads.size(); ++thread)
    for (const LapProfile& lap : recording.laps(threads[thread]))
      if (lap.op == op && lap.end_ns > end) {
        end = lap.end_ns;
        last = thread;
      }
  return detail::format(" {} in {}{}", last == 0 ? "for others" : detail::format("for thread {}", last),
                        to_string(longest->op),
                        longest->layer < 0 ? std::string() : detail::format(" of layer {}", longest->layer));
}

std::vector<Excess> excesses(const RecordedStep& step, const Breakdown& typical, double excess_ns) {
  std::vector<Excess> all;
  double named = 0.0;
  const auto add = [&](const char* where, int64_t ns, double usual_ns, std::optional<Op> op = std::nullopt) {
    const double more_ns = static_cast<double>(ns) - usual_ns;
    named += more_ns;
    all.push_back({where, more_ns, usual_ns, op});
  };
  for (size_t op = 0; op < kOps; ++op)
    add(to_string(static_cast<Op>(op)), step.work_ns[op], typical.work_ns[op], static_cast<Op>(op));
  add(kWaiting, step.wait_ns, typical.wait_ns);
  add("the profiler", step.profiler_ns, typical.profiler_ns);
  add("detokenizing", step.detokenize_ns, typical.detokenize_ns);
  add("the callback", step.callback_ns, typical.callback_ns);
  all.push_back({"the program's own loop", excess_ns - named, 0.0, std::nullopt});
  std::stable_sort(all.begin(), all.end(), [](const Excess& a, const Excess& b) { return a.ns > b.ns; });
  return all;
}

/// "; a thread lost its CPU once", "; 300 page faults".
std::string events_of(const RecordedStep& step, const Breakdown& typical) {
  std::string text;
  if (step.n_involuntary_switches > 0)
    text += step.n_involuntary_switches == 1
                ? "; a thread lost its CPU to another program once"
                : detail::format("; threads lost their CPUs to other programs {} times", step.n_involuntary_switches);
  if (step.n_major_page_faults > 0)
    text += detail::format("; {} page{} had to come from the disk", step.n_major_page_faults,
                           step.n_major_page_faults == 1 ? "" : "s");
  if (static_cast<double>(step.n_page_faults) > 32.0 + 2.0 * typical.n_page_faults)
    text += detail::format("; {} page faults", step.n_page_faults);
  return text;
}

/// "in ffn_down of layer 3", "of waiting for thread 1 in ffn_up of layer 0".
std::string place_of(const Recording& recording, const RecordedStep& step, const Breakdown& typical,
                     const Excess& excess) {
  const bool detailed = step.n_ops > 0;
  if (excess.where == kWaiting)
    return "of " + excess.where + (detailed ? waited_for(recording, step) : std::string(" for others"));
  return "in " + excess.where +
         (detailed && excess.op ? layer_of(recording.ops(step), *excess.op, excess.ns, typical) : std::string());
}

std::string reason_of(const Recording& recording, const RecordedStep& step, const Breakdown& typical,
                      double excess_ns) {
  if (typical.ns <= 0.0 || excess_ns <= kUsualExcess * typical.ns) return "within the usual";
  const std::vector<Excess> all = excesses(step, typical, excess_ns);
  const Excess &first = all[0], &second = all[1];
  std::string text;
  if (first.ns >= kMost * excess_ns) {
    text = detail::format("{} more {}", ms(first.ns), place_of(recording, step, typical, first));
  } else if (first.ns + second.ns >= kMostOfTwo * excess_ns && first.usual_ns + second.usual_ns < kMost * typical.ns) {
    text = detail::format("{} more {} and {} {}", ms(first.ns), place_of(recording, step, typical, first),
                          ms(second.ns), place_of(recording, step, typical, second));
  } else {
    text = detail::format("{:.0f} % slower throughout, above all in {} and {}", 100.0 * excess_ns / typical.ns,
                          first.where, second.where);
  }
  return text + events_of(step, typical);
}

}  // namespace

std::vector<SlowToken> slowest_tokens(const Recording& recording, std::span<const Sample> samples,
                                      const Breakdown& typical, size_t n) {
  std::vector<size_t> order(samples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  n = std::min(n, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(n), order.end(), [&](size_t a, size_t b) {
    return samples[a].ns != samples[b].ns ? samples[a].ns > samples[b].ns : a < b;
  });
  std::vector<SlowToken> slowest;
  for (size_t i = 0; i < n; ++i) {
    const Sample& sample = samples[order[i]];
    const double excess_ns = sample.ns - typical.ns;
    slowest.push_back({order[i], sample.ns / 1e6, excess_ns / 1e6,
                       reason_of(recording, recording.steps()[sample.first_step], typical, excess_ns)});
  }
  return slowest;
}

}  // namespace decant::profile
