// SPDX-License-Identifier: Apache-2.0
#include "tools/cache_view.h"

#include <algorithm>
#include <array>

#include "decant/detail/format.h"

namespace decant::tools {
namespace {

constexpr int kBarColumns = 64;

struct Part {
  const char* mark;
  const char* name;
  size_t bytes;
};

/// Each part's share of the bar; none that has bytes vanishes.
std::string bar(const std::array<Part, 5>& parts, size_t total) {
  std::string cells;
  int n = 0;
  for (const Part& part : parts) {
    if (part.bytes == 0 || total == 0) continue;
    const double share = static_cast<double>(part.bytes) / static_cast<double>(total);
    const int wide = std::clamp(static_cast<int>(share * kBarColumns + 0.5), 1, std::max(1, kBarColumns - n));
    for (int i = 0; i < wide && n < kBarColumns; ++i, ++n) cells += part.mark;
  }
  for (; n < kBarColumns; ++n) cells += " ";
  return cells;
}

std::string percent(int64_t part, int64_t whole) {
  return whole == 0 ? std::string("-")
                    : detail::format("{:.0f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

}  // namespace

std::string show_bytes(size_t n) {
  constexpr const char* kUnits[] = {"bytes", "KB", "MB", "GB", "TB", "PB", "EB"};
  if (n < 1024) return detail::format("{} bytes", n);
  auto value = static_cast<double>(n);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return detail::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, kUnits[unit]);
}

std::string show_count(int64_t n) {
  const std::string digits = std::to_string(n);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') out += ',';
    out += digits[i];
  }
  return out;
}

std::string show_count(int64_t n, const char* noun) {
  return detail::format("{} {}{}", show_count(n), noun, n == 1 ? "" : "s");
}

std::string draw_owners(const CacheStats& stats, size_t total_bytes) {
  const std::array<Part, 5> parts = {{{"█", "one sequence", stats.unique_bytes},
                                      {"▓", "shared", stats.shared_bytes},
                                      {"▒", "known prefixes", stats.prefix_bytes},
                                      {"░", "sinks", stats.sink_bytes},
                                      {"·", "free", stats.free_bytes}}};
  std::string out = detail::format("  [{}]\n", bar(parts, total_bytes)), legend;
  for (const Part& part : parts)
    if (part.bytes > 0) legend += detail::format("  {} {}: {}", part.mark, part.name, show_bytes(part.bytes));
  return legend.empty() ? out : out + legend + "\n";
}

std::string draw_cache(const CacheStats& stats) {
  std::string out = detail::format(
      "KV cache: {} taken from the system, {} in use, {}\n", show_bytes(stats.reserved_bytes),
      show_bytes(stats.used_bytes + stats.sink_bytes),
      stats.limit_bytes == 0 ? std::string("no limit") : detail::format("limit {}", show_bytes(stats.limit_bytes)));
  out += draw_owners(stats, std::max(stats.limit_bytes, stats.reserved_bytes));
  out +=
      detail::format("  {} of {} in {}, {} of them shared; tables take {}\n", show_count(stats.n_sequences, "sequence"),
                     show_count(stats.n_tokens, "token"), show_count(stats.n_blocks_used, "block"),
                     show_count(stats.n_blocks_shared), show_bytes(stats.table_bytes));
  const PrefixStats& p = stats.prefixes;
  if (p.n_lookups > 0 || p.n_nodes > 0)
    out += detail::format(
        "  prefixes: {} tokens known in {} nodes; {} of {} prompts hit ({}), {} of {} tokens ({}); {} blocks evicted\n",
        show_count(p.n_tokens), show_count(p.n_nodes), show_count(p.n_hits), show_count(p.n_lookups),
        percent(p.n_hits, p.n_lookups), show_count(p.n_hit_tokens), show_count(p.n_asked_tokens),
        percent(p.n_hit_tokens, p.n_asked_tokens), show_count(p.n_evicted_blocks));
  return out;
}

}  // namespace decant::tools
