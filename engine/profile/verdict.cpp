// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/verdict.h"

#include <algorithm>

#include "decant/detail/format.h"

namespace decant::profile {
namespace {

constexpr double kMemoryBound = 0.7;     ///< of what plain reads make: not much is left to gain but fewer bytes
constexpr double kSlowPace = 0.8;        ///< of the fastest thread: something takes its core's time
constexpr double kMuchWaiting = 0.1;     ///< of a token
constexpr double kSwitchesAToken = 0.2;  ///< that threads didn't want
constexpr double kCold = 0.9;            ///< of the model's files in the page cache: less is worth a word

std::string megabytes(double bytes) { return detail::format("{:.{}f} MB", bytes / 1e6, bytes < 1e7 ? 2 : 0); }

std::string plural(int n, const char* what) { return detail::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

double op_bandwidth_share(const RunFacts& run, size_t op) {
  const Breakdown& b = run.breakdown;
  return share(share(static_cast<double>(b.bytes[op]), b.work_ns[op]), run.figures.bandwidth_gb_per_s);
}

/// The operation with the most time beyond what its bytes take at a rate; 0: with the most time.
size_t costliest(const RunFacts& run, double gb_per_s) {
  const Breakdown& b = run.breakdown;
  size_t most = 0;
  double most_ns = -1.0;
  for (size_t op = 0; op < kOps; ++op) {
    const double beyond = b.work_ns[op] - share(static_cast<double>(b.bytes[op]), gb_per_s);
    if (beyond <= most_ns) continue;
    most_ns = beyond;
    most = op;
  }
  return most;
}

std::string costliest_text(const RunFacts& run, double gb_per_s) {
  const size_t op = costliest(run, gb_per_s);
  const Breakdown& b = run.breakdown;
  std::string text = detail::format("{} takes the most: {:.0f} % of a token", to_string(static_cast<Op>(op)),
                                    100.0 * share(b.work_ns[op], b.ns));
  if (b.bytes[op] > 0)
    text += detail::format(", reading at {:.0f} % of memory's rate", 100.0 * op_bandwidth_share(run, op));
  return text + ".";
}

std::string fewer_bytes_text(const RunFacts& run) {
  const size_t kv_bytes = run.breakdown.bytes[static_cast<size_t>(Op::attention)];
  const double kv_share = share(static_cast<double>(kv_bytes), static_cast<double>(run.figures.bytes));
  std::string text = "Fewer bytes would make it faster: weights of fewer bits";
  if (kv_share > 0.15)
    text += detail::format(", or, since keys and values are {:.0f} % of them, {}a shorter context", 100.0 * kv_share,
                           run.kv_is_wide ? "a cache of q8 or q4, or " : "");
  return text + "; so would several sequences at once, which share the weights.";
}

Verdict disk(const RunFacts& run) {
  return {Bound::faults,
          {detail::format("{:.0f} pages a token come from the disk: the model doesn't stay in memory.",
                          run.breakdown.n_major_page_faults),
           "A smaller model, a smaller cache or more memory would change that."}};
}

Verdict uneven(const RunFacts& run, size_t slowest) {
  const Breakdown& b = run.breakdown;
  const double switches = b.n_involuntary_switches;
  return {Bound::interference,
          {detail::format(
               "Thread {} works at {:.0f} % of the pace of the fastest, and {:.0f} % of a token is waiting at "
               "barriers: something else runs on its core{}.",
               slowest, 100.0 * b.workers[slowest].pace, 100.0 * share(b.wait_ns, b.ns),
               switches >= kSwitchesAToken ? detail::format(" (threads lost their CPUs {:.1f} times a token)", switches)
                                           : ""),
           "Fewer threads, or cores of its own for this process (taskset, cpusets), would change that."}};
}

Verdict disturbed(const RunFacts& run) {
  return {Bound::interference,
          {detail::format("Threads lost their CPUs to other programs {:.1f} times a token.",
                          run.breakdown.n_involuntary_switches),
           "Fewer threads than CPUs, or CPUs of its own for this process (taskset, cpusets), would change that."}};
}

Verdict waiting(const RunFacts& run) {
  const Breakdown& b = run.breakdown;
  return {
      Bound::threads,
      {detail::format("{} wait for each other for {:.0f} % of a token: the pieces of this model's operations are too "
                      "few or too short for that many.",
                      plural(run.n_threads, "thread"), 100.0 * share(b.wait_ns, b.ns)),
       "Fewer threads may be as fast; several sequences at once would give them more to do."}};
}

Verdict in_cache(const RunFacts& run) {
  return {Bound::cache,
          {detail::format("A token reads {}, which fits into the processor's cache of {}: memory doesn't bound it.",
                          megabytes(static_cast<double>(run.figures.bytes)),
                          megabytes(static_cast<double>(run.last_level_cache))),
           detail::format("The cores do: arithmetic, and what a layer does one after the other. {}",
                          costliest_text(run, 0.0))}};
}

Verdict memory(const RunFacts& run) {
  const double least_ms = static_cast<double>(run.figures.bytes) / run.figures.bandwidth_gb_per_s / 1e6;
  return {
      Bound::memory,
      {detail::format("Memory bounds it: a token reads {}, for which plain reads by {} take {:.2f} of its {:.2f} ms.",
                      megabytes(static_cast<double>(run.figures.bytes)), plural(run.n_threads, "thread"), least_ms,
                      run.figures.ms_p50),
       fewer_bytes_text(run)}};
}

Verdict arithmetic(const RunFacts& run) {
  return {Bound::arithmetic,
          {detail::format("The cores bound it: a token takes {:.0f} % of what memory could deliver meanwhile. {}",
                          100.0 * run.figures.bandwidth_share, costliest_text(run, run.figures.bandwidth_gb_per_s)),
           "More threads, where there are cores for them, or a CPU with wider vectors would make it faster."}};
}

void add_threads(const std::vector<RunFacts>& runs, std::vector<std::string>& text) {
  const RunFacts& first = runs.front();
  for (const RunFacts& run : runs) {
    if (run.depth != first.depth || run.n_threads == first.n_threads) continue;
    text.push_back(detail::format("{} make {:.2f} times the tokens of {}; they read memory {:.2f} times as fast.",
                                  plural(run.n_threads, "thread"),
                                  run.figures.tokens_per_s / first.figures.tokens_per_s,
                                  first.n_threads == 1 ? "one" : std::to_string(first.n_threads),
                                  run.figures.bandwidth_gb_per_s / first.figures.bandwidth_gb_per_s));
  }
}

void add_depths(const std::vector<RunFacts>& runs, std::vector<std::string>& text) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunFacts* shallow = &runs[i];
    if (i > 0 && runs[i - 1].n_threads == shallow->n_threads) continue;
    const RunFacts* deep = shallow;
    for (const RunFacts& run : runs) {
      if (run.n_threads != shallow->n_threads) continue;
      if (run.depth < shallow->depth) shallow = &run;
      if (run.depth > deep->depth) deep = &run;
    }
    if (deep->depth == shallow->depth) continue;
    const double thousands = (deep->depth - shallow->depth) / 1000.0;
    const double bytes = static_cast<double>(deep->figures.bytes - shallow->figures.bytes);
    text.push_back(detail::format(
        "With {}, a thousand tokens of context cost {:.3f} ms a token; memory alone would take {:.3f} for their {}.",
        plural(deep->n_threads, "thread"), (deep->figures.ms_p50 - shallow->figures.ms_p50) / thousands,
        bytes / thousands / deep->figures.bandwidth_gb_per_s / 1e6, megabytes(bytes / thousands)));
  }
}

}  // namespace

const char* to_string(Bound bound) noexcept {
  switch (bound) {
    case Bound::memory:
      return "memory";
    case Bound::cache:
      return "cache";
    case Bound::arithmetic:
      return "arithmetic";
    case Bound::threads:
      return "threads";
    case Bound::interference:
      return "interference";
    case Bound::faults:
      return "faults";
  }
  return "unknown";
}

Verdict verdict_of(const RunFacts& run) {
  const Breakdown& b = run.breakdown;
  const bool waits = share(b.wait_ns, b.ns) >= kMuchWaiting;
  if (b.n_major_page_faults >= 1.0) return disk(run);
  const auto slowest = std::min_element(b.workers.begin(), b.workers.end(),
                                        [](const WorkerFigures& x, const WorkerFigures& y) { return x.pace < y.pace; });
  if (slowest != b.workers.end() && slowest->pace < kSlowPace && (waits || b.n_involuntary_switches >= kSwitchesAToken))
    return uneven(run, static_cast<size_t>(slowest - b.workers.begin()));
  if (b.n_involuntary_switches >= kSwitchesAToken) return disturbed(run);
  if (run.figures.bytes <= run.last_level_cache) return in_cache(run);
  if (run.figures.bandwidth_share >= kMemoryBound) return memory(run);
  if (waits) return waiting(run);
  return arithmetic(run);
}

std::vector<std::string> overall_verdict(const LoadFacts& load, const std::vector<RunFacts>& runs) {
  std::vector<std::string> text;
  const bool cold = load.cached_share && *load.cached_share < kCold;
  const bool from_disk = load.disk_bytes > load.bytes / 10;
  if (cold || from_disk) {
    std::string line = "The model was cold: ";
    if (cold) line += detail::format("{:.0f} % of its file lay in the page cache", 100.0 * *load.cached_share);
    if (cold && from_disk) line += ", and ";
    if (from_disk) line += detail::format("{} came from the disk", megabytes(static_cast<double>(load.disk_bytes)));
    text.push_back(line + detail::format("; opening it took {:.2f} s. It is faster the next time.", load.seconds));
  }
  if (runs.empty()) return text;
  add_threads(runs, text);
  add_depths(runs, text);
  return text;
}

}  // namespace decant::profile
