// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/child.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fixtures.h"

namespace decant::test {
namespace {

void must(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
};

int input_file(const std::string& text) {
  const int fd = ::memfd_create("input", MFD_CLOEXEC);
  must(fd >= 0, "memfd_create");
  must(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
  must(::lseek(fd, 0, SEEK_SET) == 0, "lseek");
  return fd;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Child::Child(const Words& words, const Start& start) {
  Pipe out, err;
  int input = -1;
  if (start.input_stays_open) {
    const Pipe in;
    input = in.read_end;
    in_ = in.write_end;
  } else {
    input = input_file(start.input);
  }

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end, STDERR_FILENO);
  if (start.output_is_closed)
    posix_spawn_file_actions_addclose(&actions, STDOUT_FILENO);
  else if (!start.output_path.empty())
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, start.output_path.c_str(), O_WRONLY, 0);
  else
    posix_spawn_file_actions_adddup2(&actions, out.write_end, STDOUT_FILENO);

  std::vector<std::string> arguments{"decant"}, environment{"PATH=/usr/bin:/bin"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  environment.insert(environment.end(), start.environment.begin(), start.environment.end());
  const int error =
      ::posix_spawn(&pid_, DECANT_PROGRAM, &actions, nullptr, pointers(arguments).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  for (const int fd : {input, out.write_end, err.write_end}) ::close(fd);
  out_ = out.read_end;
  err_ = err.read_end;
  errno = error;
  must(error == 0, "posix_spawn " DECANT_PROGRAM);
}

Child::~Child() {
  for (const int fd : {in_, out_, err_})
    if (fd >= 0) ::close(fd);
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string Child::read_line() {
  while (true) {
    if (const size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string line = unread_.substr(0, end + 1);
      unread_.erase(0, end + 1);
      return line;
    }
    char buffer[256];
    const ssize_t n = ::read(out_, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("the program's output ended without a line");
    unread_.append(buffer, static_cast<size_t>(n));
  }
}

void Child::shrink_output_pipe() { must(::fcntl(out_, F_SETPIPE_SZ, 4096) >= 0, "F_SETPIPE_SZ"); }

bool Child::signal_mask_has(const char* field, int signal) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field))
      return (std::stoull(line.substr(line.find(':') + 1), nullptr, 16) >> (signal - 1) & 1U) != 0;
  throw std::runtime_error("the program has ended");
}

void Child::interrupt(int signal) {
  using namespace std::chrono_literals;
  while (!signal_mask_has("SigBlk", signal)) std::this_thread::sleep_for(1ms);
  must(::kill(pid_, signal) == 0, "kill");
  while (signal_mask_has("ShdPnd", signal)) std::this_thread::sleep_for(1ms);
}

void Child::close_output() {
  ::close(out_);
  out_ = -1;
}

Finished Child::finish() {
  Finished result;
  result.out = std::move(unread_);
  while (out_ >= 0 || err_ >= 0) {
    pollfd waits[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};  // poll passes over a descriptor of -1
    must(::poll(waits, 2, -1) >= 0 || errno == EINTR, "poll");
    char buffer[1 << 14];
    for (const pollfd& wait : waits) {
      if (wait.fd < 0 || wait.revents == 0) continue;
      const ssize_t n = ::read(wait.fd, buffer, sizeof buffer);
      if (n > 0) {
        (wait.fd == out_ ? result.out : result.err).append(buffer, static_cast<size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        ::close(wait.fd);
        (wait.fd == out_ ? out_ : err_) = -1;
      }
    }
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) must(errno == EINTR, "waitpid");
  pid_ = -1;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Finished run_decant(const Words& words, const Start& start) { return Child(words, start).finish(); }

bool is_one_line(const std::string& err) {
  return err.starts_with("decant") && std::count(err.begin(), err.end(), '\n') == 1 && err.ends_with('\n');
}

std::string join(const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) {
    if (!text.empty()) text += ',';
    text += std::to_string(id);
  }
  return text;
}

std::string tiny_model(const std::string& name) { return fixture("models/" + name); }

}  // namespace decant::test
