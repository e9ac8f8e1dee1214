// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <random>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cache/snapshot_case.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

std::ptrdiff_t n_files(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

TEST_CASE("snapshot_file: a saver that is killed leaves one whole snapshot, and the next clears up after it") {
  constexpr int kRounds = 200;
  constexpr unsigned kSeed = 1;
  const decant::test::TempDir folder;
  const std::string path = folder.path("s.kv");
  const SnapshotContents versions[] = {test::plain_contents(40, 16384, 1), test::plain_contents(25, 16384, 2)};
  REQUIRE(test::write(path, versions[0]).ok());
  std::mt19937 random(kSeed);
  int n_seconds = 0, n_left_over = 0;
  for (int round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i)
        if (!test::write(path, versions[i % 2])) ::_exit(1);
    }
    REQUIRE(child > 0);
    ::usleep(static_cast<useconds_t>(random() % 12000));
    REQUIRE(::kill(child, SIGKILL) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    // One of the two, whole.
    const Status first = test::read_back(path, versions[0]);
    const Status second = test::read_back(path, versions[1]);
    CHECK(first.ok() != second.ok());
    CHECK(n_files(folder.path()) <= 2);
    n_seconds += second.ok();
    n_left_over += n_files(folder.path()) == 2;
  }
  MESSAGE(kRounds, " savers killed, seed ", kSeed, ": ", n_left_over, " in the middle of a file, ", n_seconds,
          " after the second version");
  CHECK(test::write(path, versions[0]).ok());
  CHECK(n_files(folder.path()) == 1);
}

}  // namespace
}  // namespace decant::cache
