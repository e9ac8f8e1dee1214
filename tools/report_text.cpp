// SPDX-License-Identifier: Apache-2.0
#include "tools/report_text.h"

#include <algorithm>

#include "decant/detail/format.h"

namespace decant::tools {

size_t n_columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string shortened(const std::string& text, size_t columns) {
  if (n_columns(text) <= columns) return text;
  size_t begin = text.size(), kept = 0;
  while (kept + 3 < columns) {
    --begin;
    if ((text[begin] & 0xc0) != 0x80) ++kept;
  }
  return "..." + text.substr(begin);
}

std::string wrapped(std::string_view first, std::string_view text) {
  std::string out(first), line;
  const std::string indent(first.size(), ' ');
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (!line.empty() && indent.size() + n_columns(line) + 1 + n_columns(word) > kReportColumns) {
      out += line + "\n" + indent;
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + line + "\n";
}

std::string plural(int n, std::string_view what) { return detail::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

std::string run_name(int n_threads, int depth) {
  return detail::format("{}, depth {}", plural(n_threads, "thread"), depth);
}

}  // namespace decant::tools
