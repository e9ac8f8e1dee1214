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
  std::optional<Op> op;
};

constexpr double kMost = 0.6;  ///< of an excess: one cause explains it

std::string ms(double ns) { return detail::format("{:.{}f} ms", ns / 1e6, ns < 1e5 ? 3 : ns < 1e6 ? 2 : 1); }

/// " of layer 3", where one layer has most of it.
std::string layer_of(std::span<const OpProfile> ops, Op op, double excess_ns, const Breakdown& typical) {
  for (const OpProfile& one : ops) {
    if (one.op != op || one.layer < 0) continue;
    const double usual = typical.layer_work_ns[static_cast<size_t>(one.layer)][static_cast<size_t>(op)];
    if (static_cast<double>(one.end_ns - one.begin_ns - one.wait_ns) - usual >= kMost * excess_ns)
      return detail::format(" of layer {}", one.layer);
  }
  return {};
}

/// "for thread 1 in ffn_up of layer 3": where the calling thread waited longest, and who was last.
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
  return detail::format("{} in {}{}", last == 0 ? "for others" : detail::format("for thread {}", last),
                        to_string(longest->op),
                        longest->layer < 0 ? std::string() : detail::format(" of layer {}", longest->layer));
}

std::vector<Excess> excesses(const RecordedStep& step, const Breakdown& typical, double outside_ns) {
  std::vector<Excess> all;
  double named = 0.0;
  const auto add = [&](std::string where, double ns, std::optional<Op> op = std::nullopt) {
    named += ns;
    all.push_back({std::move(where), ns, op});
  };
  for (size_t op = 0; op < kOps; ++op)
    add(to_string(static_cast<Op>(op)), static_cast<double>(step.work_ns[op]) - typical.work_ns[op],
        static_cast<Op>(op));
  add("barriers", static_cast<double>(step.wait_ns) - typical.wait_ns);
  add("profiler", static_cast<double>(step.profiler_ns) - typical.profiler_ns);
  add("detokenize", static_cast<double>(step.detokenize_ns) - typical.detokenize_ns);
  add("callback", static_cast<double>(step.callback_ns) - typical.callback_ns);
  all.push_back({"the program's own loop", outside_ns - named, std::nullopt});
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
    text += detail::format("; {} pages had to come from the disk", step.n_major_page_faults);
  if (static_cast<double>(step.n_page_faults) > 32.0 + 2.0 * typical.n_page_faults)
    text += detail::format("; {} page faults", step.n_page_faults);
  return text;
}

std::string reason_of(const Recording& recording, const RecordedStep& step, const Breakdown& typical,
                      double excess_ns) {
  if (excess_ns < 0.03 * typical.ns) return "within the usual";
  const bool detailed = step.n_ops > 0;
  const std::vector<Excess> all = excesses(step, typical, excess_ns);
  const Excess& first = all.front();
  std::string text;
  if (first.ns >= kMost * excess_ns) {
    if (first.where == "barriers")
      text =
          detail::format("{} more of waiting {}", ms(first.ns), detailed ? waited_for(recording, step) : "for others");
    else
      text = detail::format(
          "{} more in {}{}", ms(first.ns), first.where,
          detailed && first.op ? layer_of(recording.ops(step), *first.op, first.ns, typical) : std::string());
  } else {
    text = detail::format("slower throughout, by {:.0f} %, most of it in {} and {}", 100.0 * excess_ns / typical.ns,
                          all[0].where, all[1].where);
  }
  return text + events_of(step, typical);
}

}  // namespace

std::vector<SlowToken> slowest_tokens(const Recording& recording, std::span<const Sample> samples,
                                      const Breakdown& typical, size_t n) {
  std::vector<size_t> order(samples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  n = std::min(n, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(n), order.end(),
                    [&](size_t a, size_t b) { return samples[a].ns > samples[b].ns; });
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
