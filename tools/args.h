// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/command.h"

namespace CLI {
class App;
}

namespace decant::tools {

/// Takes an option's text; returns what is wrong with it, or nothing.
using Reader = std::function<std::string(const std::string& text)>;

inline constexpr int kAnyHigh = std::numeric_limits<int>::max();

/// Bounds of a number. `above_low`: low itself is out.
struct Range {
  double low;
  double high;
  bool above_low = false;
};

/// The command line of one subcommand. An option that is given twice takes the later value.
class Arguments {
 public:
  Arguments(std::string command, const std::string& summary);
  ~Arguments();
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  /// names: "-n", "-m,--model" or, for a positional argument, "PROMPT". type: what the help calls the value.
  void option(const std::string& names, const std::string& type, Reader read, const std::string& help);
  void text(const std::string& names, const std::string& type, std::optional<std::string>& out,
            const std::string& help);
  void texts(const std::string& names, const std::string& type, std::vector<std::string>& out, const std::string& help);
  /// Two values, neither empty.
  void pair(const std::string& names, const std::string& type, std::vector<std::string>& out, const std::string& help);
  void integer(const std::string& names, std::optional<int>& out, int low, int high, const std::string& help);
  void number(const std::string& names, std::optional<float>& out, Range range, const std::string& help);
  void ids(const std::string& names, std::optional<std::vector<int32_t>>& out, const std::string& help);
  void flag(const std::string& names, bool& out, const std::string& help);
  /// Text below the options in the help.
  void note(const std::string& text);

  /// Reads the words. An exit status where the command is over: help was asked for and shown, or the usage was wrong
  /// and that was said.
  std::optional<int> parse(const Words& words);

  const std::string& command() const noexcept { return command_; }

 private:
  std::string command_;
  std::unique_ptr<CLI::App> app_;
};

/// Ids separated by commas or white space: "1,2,3". Empty for anything else (no ids are an empty list).
std::optional<std::vector<int32_t>> parse_ids(std::string_view text);

/// A whole number, in full and within bounds; nothing else around it.
std::optional<int64_t> parse_integer(std::string_view text, int64_t low, int64_t high);

/// A number of bytes: digits, then K, M, G or T for powers of 1024, or nothing.
std::optional<size_t> parse_bytes(std::string_view text);

/// All of standard input. `cancelled` when `stop_fd` becomes readable first.
Result<std::string> read_standard_input(int stop_fd);

/// A whole file, "-" for standard input.
Result<std::string> read_text_file(const std::string& path, int stop_fd);

}  // namespace decant::tools
