// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace decant::tools {

/// Standard output. Each write goes out at once, so that text is seen as it comes.
class Output {
 public:
  /// False once the output is of no more use: the reader has gone, or writing failed.
  bool write(std::string_view text);

  /// The reader has gone (`decant run | head -1`): time to end, quietly.
  bool closed() const noexcept { return closed_; }
  bool failed() const noexcept { return error_ != 0; }

  /// Whether people read it; and whether the last character written ended a line (or nothing was written).
  bool is_terminal() const noexcept;
  bool at_line_start() const noexcept { return at_line_start_; }

  /// The exit status so far; tells of a failure (a full disk, say) in the name of `command`.
  int status(std::string_view command) const;

 private:
  bool closed_ = false;
  bool at_line_start_ = true;
  int error_ = 0;
};

}  // namespace decant::tools
