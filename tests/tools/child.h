// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace decant::test {

using Words = std::vector<std::string>;

/// How the program is started.
struct Start {
  std::string input = {};                     ///< standard input; a file, so it ends
  bool input_stays_open = false;              ///< standard input is a pipe that nobody writes to
  std::string output_path = {};               ///< standard output is this file; empty: a pipe that the test reads
  bool output_is_closed = false;              ///< the program starts without a standard output
  std::vector<std::string> environment = {};  ///< "NAME=value", beside PATH; nothing of the test's own environment
};

/// What became of the program. status: the exit status, or 128 + the signal that ended it.
struct Finished {
  int status = -1;
  std::string out, err;
};

/// The decant program as a child process.
class Child {
 public:
  explicit Child(const Words& words, const Start& start = {});
  ~Child();  ///< kills one that still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Standard output up to and including the next newline.
  std::string read_line();
  /// Makes the output pipe as small as the system allows, so that a child that isn't read from soon waits.
  void shrink_output_pipe();
  /// Waits until the program catches the signal, sends it, and waits until the program has taken notice.
  void interrupt(int signal);
  /// The reader goes away.
  void close_output();
  /// Reads both outputs to their ends and waits for the exit.
  Finished finish();

 private:
  bool signal_mask_has(const char* field, int signal) const;

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string unread_;
};

Finished run_decant(const Words& words, const Start& start = {});

/// One line that decant says about itself: "decant …\n", nothing else.
bool is_one_line(const std::string& err);

/// "1,2,3".
std::string join(const std::vector<int>& ids);

/// A fixture model's folder.
std::string tiny_model(const std::string& name = "llama-gqa");

}  // namespace decant::test
