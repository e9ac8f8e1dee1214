// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace decant::test {

inline constexpr int kThrew = 99;
inline constexpr int kKilledBy = 1000;

/// What `run` returns (0 to 98) in a child process: for limits, rights and deaths that this program must not share.
/// kThrew if it threw, kKilledBy + signal if a signal ended it.
template <typename F>
int in_child(F&& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = kThrew;
    try {
      status = run();
    } catch (...) {
    }
    ::_exit(status);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kKilledBy + WTERMSIG(status);
}

}  // namespace decant::test
