// SPDX-License-Identifier: Apache-2.0
#include "tools/output.h"

#include <cerrno>
#include <string>
#include <system_error>

#include <unistd.h>

#include "decant/detail/format.h"

#include "tools/command.h"

namespace decant::tools {

bool Output::write(std::string_view text) {
  if (closed_ || error_ != 0) return false;
  if (!text.empty()) at_line_start_ = text.back() == '\n';
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EPIPE) {
      closed_ = true;
      return false;
    } else if (errno != EINTR) {
      error_ = errno;
      return false;
    }
  }
  return true;
}

bool Output::is_terminal() const noexcept { return ::isatty(STDOUT_FILENO) == 1; }

int Output::status(std::string_view command) const {
  if (error_ == 0) return kExitOk;
  return fail(command,
              Error{ErrorCode::io, detail::format("cannot write to standard output: {}; the output is incomplete",
                                                  std::generic_category().message(error_))});
}

void tell(std::string_view command, std::string_view message) {
  std::string line = command.empty() ? "decant: " : detail::format("decant {}: ", command);
  line += message;
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (n < 0 && errno != EINTR) return;  // nowhere left to say it
    if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  }
}

int fail(std::string_view command, const Error& error) {
  tell(command, error.message.empty() ? to_string(error.code) : error.message);
  return kExitFailed;
}

int usage_error(std::string_view command, std::string_view message) {
  tell(command, detail::format("{}; see 'decant help{}{}'", message, command.empty() ? "" : " ", command));
  return kExitUsage;
}

}  // namespace decant::tools
