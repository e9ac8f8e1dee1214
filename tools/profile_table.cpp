// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string_view>

#include "decant/detail/format.h"

#include "engine/model/printable.h"
#include "tools/machine_report.h"
#include "tools/profile_report.h"
#include "tools/report_text.h"

namespace decant::tools {
namespace {

constexpr double kDrift = 1.1;  ///< of memory, between rounds: more is worth a word

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }
double seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

/// Milliseconds with as many digits as say something.
std::string ms_text(double ms) {
  return detail::format("{:.{}f}", ms, ms >= 1000.0 ? 0 : ms >= 100.0 ? 1 : ms >= 1.0 ? 2 : 3);
}

class Table {
 public:
  Table(const ProfileReport& report, bool bold) : report_(report), bold_(bold) {}

  std::string text() {
    head();
    for (const ProfileRun& run : report_.runs) this->run(run);
    summary();
    for (const std::string& sentence : report_.verdict) text_ += wrapped("", sentence);
    memory();
    return std::move(text_);
  }

 private:
  void heading(std::string_view text) {
    text_ += bold_ ? detail::format("\033[1m{}\033[0m\n", text) : detail::format("{}\n", text);
  }

  /// "; reads 30.1 GB/s with 1 thread, 34.2 with 2", as measured beside the first run of each.
  std::string bandwidths() const {
    std::string text;
    std::vector<int> told;
    for (const ProfileRun& run : report_.runs) {
      if (std::find(told.begin(), told.end(), run.facts.n_threads) != told.end()) continue;
      text +=
          detail::format("{} {:.1f}{} with {}", told.empty() ? "; reads" : ",", run.facts.figures.bandwidth_gb_per_s,
                         told.empty() ? " GB/s" : "",
                         told.empty() ? plural(run.facts.n_threads, "thread") : std::to_string(run.facts.n_threads));
      told.push_back(run.facts.n_threads);
    }
    return text;
  }

  void head() {
    text_ += wrapped("machine  ", machine_line(report_.machine) + bandwidths());
    text_ +=
        wrapped("model    ",
                detail::format("{}, {:.1f} MB of weights a token, cache of {}/{}, {} kernels, {} numerics",
                               model::printable(report_.model.path), static_cast<double>(report_.weight_bytes) / 1e6,
                               report_.k_type, report_.v_type, report_.isa, report_.numerics));
    const LoadTimes& times = report_.load_times;
    std::string load = detail::format(
        "{:.3f} s: metadata {:.3f}, weights {:.3f} ({} by {}), meanwhile tokenizer {:.3f}; a first token after {:.3f} "
        "s",
        report_.load.seconds, seconds(times.metadata_ns), seconds(times.weights_ns), times.mapped ? "mapped" : "read",
        plural(times.n_threads, "thread"), seconds(times.tokenizer_ns), report_.first_token_seconds);
    if (report_.load.cached_share)
      load += detail::format("; {:.0f} % of the file lay in the page cache", 100.0 * *report_.load.cached_share);
    text_ += wrapped("load     ", load);
    if (report_.counters_wanted && !report_.counters_note.empty()) text_ += wrapped("counters ", report_.counters_note);
  }

  void run(const ProfileRun& run) {
    const profile::DecodeFigures& f = run.facts.figures;
    text_ += '\n';
    heading(run_name(run.facts.n_threads, run.facts.depth));
    if (run.prefill) {
      const PrefillReport& p = *run.prefill;
      text_ +=
          wrapped("  first token  ",
                  detail::format("{} ms after a prompt of {}: tokenize {}, prefill {} ({:.1f} tokens/s), sample {}",
                                 ms_text(p.ttft_ms_typical()), p.n_tokens, ms_text(p.tokenize_ms()),
                                 ms_text(p.prefill_ms()), p.tokens_per_s(), ms_text(p.sample_ms())));
    }
    text_ += detail::format("  next tokens  p50 {}   p90 {}   p99 {}   p99.9 {}   max {} ms   {:.1f} tokens/s\n",
                            ms_text(f.ms_p50), ms_text(f.ms_p90), ms_text(f.ms_p99), ms_text(f.ms_p999),
                            ms_text(f.ms_max), f.tokens_per_s);
    const auto [least, most] = std::minmax_element(run.timings.bandwidth.begin(), run.timings.bandwidth.end());
    std::string spread;
    if (*most > kDrift * *least)
      spread = detail::format(", {:.1f} to {:.1f} from round to round", *least / 1e9, *most / 1e9);
    text_ +=
        wrapped("  memory       ",
                detail::format("{:.1f} MB a token at {:.1f} GB/s, {:.0f} % of the {:.1f} GB/s that plain reads make{}",
                               static_cast<double>(f.bytes) / 1e6, f.gb_per_s, 100.0 * f.bandwidth_share,
                               f.bandwidth_gb_per_s, spread));
    text_ += '\n';
    operations(run);
    workers(run);
    slowest(run);
    counters(run);
    for (const std::string& sentence : run.verdict.text)
      text_ += wrapped(&sentence == &run.verdict.text.front() ? "  verdict  " : "           ", sentence);
  }

  void row(std::string_view name, double ns, size_t bytes, const profile::RunFacts& facts) {
    text_ += detail::format("  {:<14}{:>10}{:>8.1f}%", name, detail::format("{:.4f}", ns / 1e6),
                            100.0 * share(ns, facts.breakdown.ns));
    if (bytes > 0 && ns > 0.0) {
      const double rate = static_cast<double>(bytes) / ns;
      text_ += detail::format("{:>12.3f}{:>9.1f}{:>9.0f}%", static_cast<double>(bytes) / 1e6, rate,
                              100.0 * rate / facts.figures.bandwidth_gb_per_s);
    }
    text_ += '\n';
  }

  void operations(const ProfileRun& run) {
    const profile::Breakdown& b = run.facts.breakdown;
    heading("  operation       ms/token    share    MB/token     GB/s  of memory");
    const auto rows = [&](bool operations) {
      for (size_t i = 0; i < kOps; ++i)
        if (is_operation(static_cast<Op>(i)) == operations)
          row(to_string(static_cast<Op>(i)), b.work_ns[i], b.bytes[i], run.facts);
    };
    rows(true);
    row("barriers", b.wait_ns, 0, run.facts);
    rows(false);
    row("profiler", b.profiler_ns, 0, run.facts);
    row("detokenize", b.detokenize_ns, 0, run.facts);
    row("callback", b.callback_ns, 0, run.facts);
    row("a token", b.ns, b.total_bytes(), run.facts);
  }

  void workers(const ProfileRun& run) {
    const profile::Breakdown& b = run.facts.breakdown;
    text_ += '\n';
    for (size_t i = 0; b.workers.size() > 1 && i < b.workers.size(); ++i) {
      const profile::WorkerFigures& w = b.workers[i];
      text_ += detail::format(
          "  thread {:<3}  busy {} ms, waiting {} ({:.1f} %), {:.0f} pieces at {:.0f} % of the best pace\n", i,
          ms_text(w.busy_ns / 1e6), ms_text(w.wait_ns / 1e6), 100.0 * share(w.wait_ns, w.busy_ns + w.wait_ns),
          w.n_pieces, 100.0 * w.pace);
    }
    text_ += wrapped("  events       ",
                     detail::format("a token: {:.2f} page faults, {:.2f} of them from the disk; threads slept {:.2f} "
                                    "times, and lost their CPU {:.2f} times",
                                    b.n_page_faults + b.n_major_page_faults, b.n_major_page_faults,
                                    b.n_context_switches, b.n_involuntary_switches));
  }

  void slowest(const ProfileRun& run) {
    const size_t n_tokens = run.timings.seconds.size() / static_cast<size_t>(run.n_rounds);
    for (const profile::SlowToken& slow : run.slowest)
      text_ += wrapped(detail::format("  {} round {} token {:<4} {:>8} ms  ",
                                      &slow == &run.slowest.front() ? "slowest   " : "          ",
                                      slow.sample / n_tokens, slow.sample % n_tokens, ms_text(slow.ms)),
                       slow.reason);
  }

  void counters(const ProfileRun& run) {
    const profile::CounterValues& c = run.counters;
    if (!report_.counters_wanted || !(c.cycles || c.instructions || c.cache_misses || c.tlb_misses)) return;
    std::string line;
    const auto add = [&](const char* name, const std::optional<double>& value) {
      if (value) line += detail::format("{}{:.0f} {}", line.empty() ? "" : ", ", *value, name);
    };
    add("cycles", c.cycles);
    add("instructions", c.instructions);
    add("cache misses", c.cache_misses);
    add("TLB misses", c.tlb_misses);
    if (c.cycles && c.instructions)
      line += detail::format(" ({:.2f} instructions a cycle)", *c.instructions / *c.cycles);
    text_ += wrapped("  counters     ", "a token: " + line);
  }

  /// Latency against context, and the straight line that memory allows.
  void summary() {
    text_ += '\n';
    heading("threads   depth  ms/token  memory allows  MB/token   GB/s  of memory  tokens/s    prompt tok/s");
    for (const ProfileRun& run : report_.runs) {
      const profile::DecodeFigures& f = run.facts.figures;
      text_ += detail::format("{:>7}{:>8}{:>10}{:>15}{:>10.1f}{:>7.1f}{:>10.0f}%{:>10.1f}{:>16}\n", run.facts.n_threads,
                              run.facts.depth, ms_text(f.ms_p50),
                              ms_text(static_cast<double>(f.bytes) / f.bandwidth_gb_per_s / 1e6),
                              static_cast<double>(f.bytes) / 1e6, f.gb_per_s, 100.0 * f.bandwidth_share, f.tokens_per_s,
                              run.prefill ? detail::format("{:.1f}", run.prefill->tokens_per_s()) : "-");
    }
    text_ += '\n';
  }

  void memory() {
    std::string line;
    for (const MemoryOwner& owner : report_.memory)
      line +=
          detail::format("{}{} {:.1f}", line.empty() ? "" : ", ", owner.owner, static_cast<double>(owner.bytes) / 1e6);
    if (!line.empty()) text_ += wrapped("memory, MB: ", line);
  }

  const ProfileReport& report_;
  bool bold_;
  std::string text_;
};

}  // namespace

std::string profile_table(const ProfileReport& report, bool bold) { return Table(report, bold).text(); }

}  // namespace decant::tools
