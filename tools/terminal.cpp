// SPDX-License-Identifier: Apache-2.0
#include "tools/terminal.h"

#include <cerrno>
#include <csignal>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "decant/detail/format.h"

#include "tools/command.h"

namespace decant::tools {
namespace {

constexpr std::chrono::milliseconds kShowAfter{500};
constexpr std::chrono::milliseconds kShowEvery{100};

sigset_t interrupt_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

void notify(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
}

void write_to_terminal(const std::string& text) {
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

Interrupts::Interrupts() {
  const sigset_t signals = interrupt_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  stopped_fd_ = ::eventfd(0, EFD_CLOEXEC);
  quit_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (signal_fd_ >= 0 && stopped_fd_ >= 0 && quit_fd_ >= 0)
    thread_ = std::thread([this] { wait_for_signals(); });
  else
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // out of descriptors: Ctrl-C ends the program as it always does
}

Interrupts::~Interrupts() {
  if (thread_.joinable()) {
    notify(quit_fd_);
    thread_.join();
  }
  for (const int fd : {signal_fd_, stopped_fd_, quit_fd_})
    if (fd >= 0) ::close(fd);
}

void Interrupts::wait_for_signals() {
  while (true) {
    pollfd waits[2] = {{signal_fd_, POLLIN, 0}, {quit_fd_, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents != 0) return;
    signalfd_siginfo info;
    if (::read(signal_fd_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
    const int signal = static_cast<int>(info.ssi_signo);
    if (source_.stop_requested()) {
      std::signal(signal, SIG_DFL);
      const sigset_t signals = interrupt_signals();
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      ::raise(signal);
    }
    signal_ = signal;
    source_.request_stop();
    notify(stopped_fd_);
  }
}

int fail(std::string_view command, const Error& error, const Interrupts& interrupts, std::string_view interrupted) {
  if (!interrupts.stopped()) return fail(command, error);
  tell(command, interrupted);
  return interrupts.exit_status();
}

Progress::Progress(std::string what)
    : what_(std::move(what)), next_(Clock::now() + kShowAfter), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) write_to_terminal("\r\033[K");
}

void Progress::update(size_t done, size_t total) {
  if (!is_terminal_ || total == 0) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + kShowEvery;
  shown_ = true;
  const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
  write_to_terminal(detail::format("\r\033[K{} {:.0f} %", what_, percent));
}

bool standard_input_is_terminal() noexcept { return ::isatty(STDIN_FILENO) == 1; }

}  // namespace decant::tools
