// SPDX-License-Identifier: Apache-2.0
#include "tools/args.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "decant/detail/format.h"

#include "tools/output.h"

namespace decant::tools {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// "-m,--model" → "-m": how messages call an option.
std::string first_name(const std::string& names) { return names.substr(0, names.find(',')); }

std::string lower_first(std::string text) {
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0)
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace

Arguments::Arguments(std::string command, const std::string& summary)
    : command_(std::move(command)), app_(std::make_unique<CLI::App>(summary, "decant " + command_)) {
  app_->get_formatter()->column_width(30);
  app_->set_help_flag("-h,--help", "Show this");
}

Arguments::~Arguments() = default;

void Arguments::option(const std::string& names, const std::string& type, Reader read, const std::string& help) {
  const std::string name = first_name(names);
  app_->add_option_function<std::string>(
          names,
          [name, read = std::move(read)](const std::string& text) {
            const std::string wrong = read(text);
            if (!wrong.empty()) throw CLI::ValidationError(name, wrong);
          },
          help)
      ->type_name(type)
      ->take_last();
}

void Arguments::text(const std::string& names, const std::string& type, std::optional<std::string>& out,
                     const std::string& help) {
  option(
      names, type,
      [&out](const std::string& text) {
        out = text;
        return std::string();
      },
      help);
}

void Arguments::texts(const std::string& names, const std::string& type, std::vector<std::string>& out,
                      const std::string& help) {
  const std::string name = first_name(names);
  app_->add_option_function<std::vector<std::string>>(
          names,
          [&out, name](const std::vector<std::string>& values) {
            for (const std::string& value : values)
              if (value.empty()) throw CLI::ValidationError(name, "an empty string would match everywhere");
            out = values;
          },
          help)
      ->type_name(type)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void Arguments::pair(const std::string& names, const std::string& type, std::vector<std::string>& out,
                     const std::string& help) {
  app_->add_option(names, out, help)->type_name(type)->expected(2);
}

void Arguments::integer(const std::string& names, std::optional<int>& out, int low, int high, const std::string& help) {
  option(
      names, "N",
      [&out, low, high](const std::string& text) -> std::string {
        const std::optional<int64_t> value = parse_integer(text, low, high);
        if (!value) return detail::format("needs a whole number from {} to {}, not '{}'", low, high, text);
        out = static_cast<int>(*value);
        return {};
      },
      help);
}

void Arguments::number(const std::string& names, std::optional<float>& out, Range range, const std::string& help) {
  option(
      names, "X",
      [&out, range](const std::string& text) -> std::string {
        float value = 0.0F;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool in_range = value >= range.low && value <= range.high && !(range.above_low && value <= range.low);
        if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || !in_range) {
          const std::string high = range.high < 1e30 ? detail::format(" and at most {}", range.high) : "";
          return detail::format("needs a number {} {}{}, not '{}'", range.above_low ? "above" : "of at least",
                                range.low, high, text);
        }
        out = value;
        return {};
      },
      help);
}

void Arguments::ids(const std::string& names, std::optional<std::vector<int32_t>>& out, const std::string& help) {
  option(
      names, "1,2,3",
      [&out](const std::string& text) -> std::string {
        out = parse_ids(text);
        if (!out) return detail::format("needs token ids such as 1,2,3, not '{}'", text);
        if (out->empty()) return "needs at least one token id";
        return {};
      },
      help);
}

void Arguments::flag(const std::string& names, bool& out, const std::string& help) { app_->add_flag(names, out, help); }

void Arguments::note(const std::string& text) { app_->footer(text); }

std::optional<int> Arguments::parse(const Words& words) {
  try {
    app_->parse(Words(words.rbegin(), words.rend()));  // CLI11 takes a vector from its back
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    Output out;
    out.write(app_->help());
    return out.status(command_);
  } catch (const CLI::ExtrasError&) {
    std::string extra;
    for (const std::string& word : app_->remaining()) extra += (extra.empty() ? "'" : " '") + word + "'";
    return usage_error(command_, detail::format("{} not understood (quote text that has spaces; -- before text that "
                                                "begins with a dash)",
                                                extra));
  } catch (const CLI::ParseError& error) {
    return usage_error(command_, lower_first(error.what()));
  }
}

std::optional<std::vector<int32_t>> parse_ids(std::string_view text) {
  std::vector<int32_t> ids;
  bool after_comma = false;  // a comma has an id on both sides
  size_t i = 0;
  while (true) {
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size()) break;
    const size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    const auto id = parse_integer(text.substr(begin, i - begin), 0, std::numeric_limits<int32_t>::max());
    if (!id) return std::nullopt;
    ids.push_back(static_cast<int32_t>(*id));
    const size_t end = i;
    while (i < text.size() && is_space(text[i])) ++i;
    after_comma = i < text.size() && text[i] == ',';
    if (after_comma) ++i;
    if (!after_comma && i < text.size() && i == end) return std::nullopt;
  }
  if (after_comma) return std::nullopt;
  return ids;
}

std::optional<int64_t> parse_integer(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) return std::nullopt;
  return value;
}

std::optional<size_t> parse_bytes(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  const size_t unit = text.empty() ? std::string_view::npos : kUnits.find(text.back());
  const int shift = unit == std::string_view::npos ? 0 : 10 * (static_cast<int>(unit) + 1);
  if (shift > 0) text.remove_suffix(1);
  const auto value = parse_integer(text, 0, std::numeric_limits<int64_t>::max() >> shift);
  return value ? std::optional(static_cast<size_t>(*value) << shift) : std::nullopt;
}

namespace {

Result<std::string> read_all(int fd, const std::string& name, int stop_fd) {
  std::string text;
  char buffer[1 << 16];
  while (true) {
    pollfd waits[2] = {{fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (::poll(waits, stop_fd >= 0 ? 2 : 1, -1) < 0 && errno != EINTR) break;
    if (stop_fd >= 0 && waits[1].revents != 0) return Error{ErrorCode::cancelled, "interrupted"};
    if (waits[0].revents == 0) continue;
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  return Error{ErrorCode::io, detail::format("cannot read {}: {}", name, std::generic_category().message(errno))};
}

}  // namespace

Result<std::string> read_standard_input(int stop_fd) { return read_all(STDIN_FILENO, "standard input", stop_fd); }

Result<std::string> read_text_file(const std::string& path, int stop_fd) {
  if (path == "-") return read_standard_input(stop_fd);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return Error{ErrorCode::io, detail::format("cannot open {}: {}", path, std::generic_category().message(errno))};
  Result<std::string> text = read_all(fd, path, stop_fd);
  ::close(fd);
  return text;
}

}  // namespace decant::tools
