// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "decant/result.h"

namespace decant::tools {

/// Turns Ctrl-C (SIGINT) and SIGTERM into a stop request while it lives. The second one ends the program at once.
/// To be made before any other thread starts: threads inherit that these signals are blocked.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  std::stop_token token() const noexcept { return source_.get_token(); }
  bool stopped() const noexcept { return source_.stop_requested(); }
  /// Readable once stopped: for a wait on other descriptors.
  int fd() const noexcept { return stopped_fd_; }
  /// 128 + the signal, as shells say it.
  int exit_status() const noexcept { return 128 + signal_.load(); }

 private:
  void wait_for_signals();

  std::stop_source source_;
  std::atomic<int> signal_{0};
  int signal_fd_ = -1, stopped_fd_ = -1, quit_fd_ = -1;
  std::thread thread_;
};

/// Tells of an error as fail() does, or, where it came of an interrupt, tells `interrupted`; the exit status of either.
int fail(std::string_view command, const Error& error, const Interrupts& interrupts,
         std::string_view interrupted = "interrupted");

/// A line on the terminal that says how far something is, from half a second on; gone when the object goes. Silent
/// where standard error is no terminal.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(size_t done, size_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Clock::time_point next_;
  bool is_terminal_;
  bool shown_ = false;
};

bool standard_input_is_terminal() noexcept;

}  // namespace decant::tools
