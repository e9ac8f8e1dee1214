// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/verdict.h"

#include <algorithm>

#include "decant/detail/format.h"

namespace decant::profile {
namespace {

constexpr double kMemoryBound = 0.7;     ///< of what plain reads make: not much is left to gain but fewer bytes
constexpr double kSlowPace = 0.8;        ///< of the fastest thread: something takes its core's time
constexpr double kSlowCaller = 0.65;     ///< the calling thread's time holds more than pieces: it wakes the others
constexpr double kFewPieces = 0.4;       ///< of the busiest thread's
constexpr double kMuchWaiting = 0.1;     ///< of a token
constexpr double kSwitchesAToken = 0.2;  ///< that threads didn't want, where tokens differ by so much:
constexpr double kUneven = 1.1;          ///< the mean token beside the quick ones
constexpr double kDiskReadNs = 1e5;      ///< what a page from an SSD takes, about
constexpr double kMuchTime = 0.05;       ///< of a token
constexpr double kCacheShare = 0.8;      ///< of the cache: the rest is for activations, code, neighbours
constexpr double kCold = 0.9;            ///< of the model's files in the page cache: less is worth a word

std::string megabytes(double bytes) { return detail::format("{:.{}f} MB", bytes / 1e6, bytes < 1e7 ? 2 : 0); }

std::string plural(int n, const char* what) { return detail::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

bool switches_cost(const Breakdown& b) {
  return b.n_involuntary_switches >= kSwitchesAToken && b.mean_ns >= kUneven * b.quick_ns;
}

std::string switches_text(const Breakdown& b, const char* who) {
  return detail::format("{} to other programs {:.1f} times a token.", who, b.n_involuntary_switches);
}

/// The operation with the most time beyond what its bytes take at a rate; 0: with the most time.
size_t costliest(const RunFacts& run, double gb_per_s) {
  const Breakdown& b = run.breakdown;
  size_t most = 0;
  double most_ns = 0.0;
  for (size_t op = 0; op < kOps; ++op) {
    const double beyond = b.work_ns[op] - share(static_cast<double>(b.bytes[op]), gb_per_s);
    if (beyond <= most_ns) continue;
    most_ns = beyond;
    most = op;
  }
  return most;
}

/// " ffn_up takes the most: 48 % of a token.", where that is known.
std::string longest_text(const RunFacts& run) {
  const Breakdown& b = run.breakdown;
  const size_t op = costliest(run, 0.0);
  if (b.work_ns[op] <= 0.0) return {};
  return detail::format(" {} takes the most: {:.0f} % of a token.", to_string(static_cast<Op>(op)),
                        100.0 * share(b.work_ns[op], b.ns));
}

/// The same of what memory doesn't account for.
std::string furthest_from_memory_text(const RunFacts& run) {
  const double gb_per_s = run.figures.bandwidth_gb_per_s;
  if (gb_per_s <= 0.0) return longest_text(run);
  const Breakdown& b = run.breakdown;
  const size_t op = costliest(run, gb_per_s);
  if (b.work_ns[op] <= 0.0) return {};
  std::string text = detail::format(" Beyond what memory takes, {} costs the most: {:.0f} % of a token",
                                    to_string(static_cast<Op>(op)), 100.0 * share(b.work_ns[op], b.ns));
  if (b.bytes[op] > 0)
    text += detail::format(", reading at {:.0f} % of memory's rate",
                           100.0 * share(share(static_cast<double>(b.bytes[op]), b.work_ns[op]), gb_per_s));
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
          {detail::format("{:.1f} pages a token come from the disk: the model doesn't stay in memory.",
                          run.breakdown.n_major_page_faults),
           "A smaller model, a smaller cache or more memory would change that."}};
}

/// The slowest thread, where it is too slow for its place.
std::optional<size_t> slow_thread(const Breakdown& b) {
  std::optional<size_t> slowest;
  for (size_t thread = 0; thread < b.workers.size(); ++thread) {
    if (b.workers[thread].pace >= (thread == 0 ? kSlowCaller : kSlowPace)) continue;
    if (!slowest || b.workers[thread].pace < b.workers[*slowest].pace) slowest = thread;
  }
  return slowest;
}

Verdict uneven(const RunFacts& run, size_t slowest) {
  const Breakdown& b = run.breakdown;
  Verdict verdict{Bound::interference,
                  {detail::format("Thread {} works at {:.0f} % of the pace of the fastest: something else runs on its "
                                  "core, or the core is a slower one.",
                                  slowest, 100.0 * b.workers[slowest].pace)}};
  if (share(b.wait_ns, b.ns) >= kMuchWaiting)
    verdict.text.push_back(
        detail::format("{:.0f} % of a token is waiting at barriers.", 100.0 * share(b.wait_ns, b.ns)));
  if (switches_cost(b)) verdict.text.push_back(switches_text(b, "Threads lost their CPUs"));
  verdict.text.push_back("Fewer threads, or cores of its own for this process (taskset, cpusets), would change that.");
  return verdict;
}

Verdict late(size_t thread, double pieces_share) {
  return {
      Bound::interference,
      {detail::format("Thread {} does {:.0f} % of the pieces that the busiest does: it comes late to most operations, "
                      "since its core is busy with something else or slow to wake.",
                      thread, 100.0 * pieces_share),
       "Fewer threads, or cores of its own for this process (taskset, cpusets), would change that."}};
}

Verdict disturbed(const RunFacts& run) {
  if (run.n_threads == 1)
    return {Bound::interference,
            {switches_text(run.breakdown, "The thread lost its CPU"),
             "A CPU of its own for this process (taskset, cpusets) would change that."}};
  return {Bound::interference,
          {switches_text(run.breakdown, "Threads lost their CPUs"),
           "Fewer threads than CPUs, or CPUs of its own for this process (taskset, cpusets), would change that."}};
}

Verdict crowded(const RunFacts& run) {
  return {Bound::threads,
          {detail::format("{} share {}: they keep each other waiting.", plural(run.n_threads, "thread"),
                          plural(run.n_cpus, "CPU")),
           detail::format("{} would be faster.", plural(run.n_cpus, "thread"))}};
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
           "The cores do: arithmetic, and what a layer does one after the other." + longest_text(run)}};
}

Verdict memory(const RunFacts& run) {
  const double least_ms = share(static_cast<double>(run.figures.bytes), run.figures.bandwidth_gb_per_s) / 1e6;
  const std::string bytes = megabytes(static_cast<double>(run.figures.bytes));
  const std::string threads = plural(run.n_threads, "thread");
  std::string text = least_ms < run.figures.ms_p50
                         ? detail::format("a token reads {}, for which plain reads by {} take {:.2f} of its {:.2f} ms.",
                                          bytes, threads, least_ms, run.figures.ms_p50)
                         : detail::format("a token reads {} in {:.2f} ms, as fast as plain reads by {}.", bytes,
                                          run.figures.ms_p50, threads);
  return {Bound::memory, {"Memory bounds it: " + text, fewer_bytes_text(run)}};
}

Verdict arithmetic(const RunFacts& run) {
  std::string text = "The cores bound it";
  if (run.figures.bandwidth_gb_per_s > 0.0)
    text += detail::format(": a token takes {:.0f} % of what memory could deliver meanwhile",
                           100.0 * run.figures.bandwidth_share);
  return {Bound::arithmetic,
          {text + "." + furthest_from_memory_text(run),
           "More threads, where there are cores for them, or a CPU with wider vectors would make it faster."}};
}

void add_threads(const std::vector<RunFacts>& runs, std::vector<std::string>& text) {
  const RunFacts& first = runs.front();
  for (const RunFacts& run : runs) {
    if (run.depth != first.depth || run.n_threads == first.n_threads || first.figures.tokens_per_s <= 0.0) continue;
    const bool one = run.n_threads == 1;
    std::string line =
        detail::format("At depth {}, {} {} {:.2f} times the tokens of {}", run.depth, plural(run.n_threads, "thread"),
                       one ? "makes" : "make", run.figures.tokens_per_s / first.figures.tokens_per_s,
                       first.n_threads == 1 ? "one" : std::to_string(first.n_threads));
    if (run.figures.bandwidth_gb_per_s > 0.0 && first.figures.bandwidth_gb_per_s > 0.0)
      line += detail::format("; plain reads are {:.2f} times as fast",
                             run.figures.bandwidth_gb_per_s / first.figures.bandwidth_gb_per_s);
    text.push_back(line + ".");
  }
}

/// What a thousand tokens more in the cache cost each token.
std::string context_text(const RunFacts& shallow, const RunFacts& deep) {
  const double thousands = (deep.depth - shallow.depth) / 1000.0;
  const double cost_ms = (deep.figures.ms_p50 - shallow.figures.ms_p50) / thousands;
  const double bytes =
      (static_cast<double>(deep.figures.bytes) - static_cast<double>(shallow.figures.bytes)) / thousands;
  const std::string with = "With " + plural(deep.n_threads, "thread");
  if (cost_ms < 0.0005) return with + ", context costs nothing that could be measured.";
  std::string text = detail::format("{}, a thousand tokens of context cost {:.3f} ms a token", with, cost_ms);
  if (bytes > 0.0 && deep.figures.bandwidth_gb_per_s > 0.0)
    text += detail::format("; memory alone would take {:.3f} ms for their {}",
                           bytes / deep.figures.bandwidth_gb_per_s / 1e6, megabytes(bytes));
  return text + ".";
}

void add_depths(const std::vector<RunFacts>& runs, std::vector<std::string>& text) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto has_as_many = [&](const RunFacts& run) { return run.n_threads == runs[i].n_threads; };
    if (std::any_of(runs.begin(), runs.begin() + static_cast<ptrdiff_t>(i), has_as_many)) continue;
    const RunFacts *shallow = &runs[i], *deep = shallow;
    for (const RunFacts& run : runs) {
      if (!has_as_many(run)) continue;
      if (run.depth < shallow->depth) shallow = &run;
      if (run.depth > deep->depth) deep = &run;
    }
    if (deep->depth > shallow->depth) text.push_back(context_text(*shallow, *deep));
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
  if (b.n_major_page_faults >= 1.0 && b.n_major_page_faults * kDiskReadNs >= kMuchTime * b.ns) return disk(run);
  const bool waits = share(b.wait_ns, b.ns) >= kMuchWaiting, disturbs = switches_cost(b);
  if (run.n_cpus > 0 && run.n_threads > run.n_cpus) return crowded(run);
  const bool cached = run.figures.bytes > 0 &&
                      static_cast<double>(run.figures.bytes) <= kCacheShare * static_cast<double>(run.last_level_cache);
  const bool at_memory = !cached && run.figures.bandwidth_share >= kMemoryBound;
  if (const std::optional<size_t> slow = slow_thread(b); slow && (waits || (disturbs && !at_memory)))
    return uneven(run, *slow);
  if (at_memory) return memory(run);
  if (disturbs) return disturbed(run);
  const auto [few, most] = std::minmax_element(b.workers.begin(), b.workers.end(),
                                               [](const auto& x, const auto& y) { return x.n_pieces < y.n_pieces; });
  // Operations that a cache holds are over before a thread has woken up.
  if (!cached && !b.workers.empty() && few->n_pieces < kFewPieces * most->n_pieces)
    return late(static_cast<size_t>(few - b.workers.begin()), few->n_pieces / most->n_pieces);
  if (waits && run.n_threads > 1) return waiting(run);
  return cached ? in_cache(run) : arithmetic(run);
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
