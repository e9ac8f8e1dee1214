// SPDX-License-Identifier: Apache-2.0
#include "cache/atomic_file.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/checksum.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

namespace fs = std::filesystem;
using test::in_child;
using test::TempDir;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Status save(const std::string& path, std::string_view text) {
  Result<AtomicFile> file = AtomicFile::create(path);
  if (!file) return file.error();
  if (Status written = file->write(bytes(text)); !written) return written;
  return file->commit();
}

std::vector<std::string> names(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  return found;
}

mode_t mode_of(const std::string& path) {
  struct stat info = {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

bool is_io_about(const Status& status, std::string_view text) {
  if (status) return false;
  CAPTURE(status.error().message);
  return status.error().code == ErrorCode::io && status.error().message.find(text) != std::string::npos;
}

TEST_CASE("checksum: the numbers of XXH3, which files on disk depend on") {
  CHECK(checksum({}) == 0x2d06800538d394c2U);
  CHECK(checksum(bytes("decant")) != checksum(bytes("decant"), 1));
  CHECK(checksum(bytes("decant")) == 0x12e1de8b1a4706d9U);
  CHECK(checksum(bytes(std::string(1000, 'x')), 42) == 0xcb10f5998c4773ffU);
}

TEST_CASE("atomic_file: the old file stands until commit() and the new one after it") {
  const TempDir folder;
  folder.write("x", "old");
  {
    Result<AtomicFile> file = AtomicFile::create(folder.path("x"));
    REQUIRE(file.ok());
    CHECK(file->write(bytes("new ")).ok());
    CHECK(contents(folder.path("x")) == "old");
    CHECK(names(folder.path()).size() == 2);
    CHECK(file->write(bytes("text")).ok());
    CHECK(file->write_at(1, bytes("EW")).ok());
    CHECK(file->commit().ok());
    CHECK(contents(folder.path("x")) == "nEW text");
    CHECK(file->commit().error().code == ErrorCode::io);
  }
  CHECK(names(folder.path()) == std::vector<std::string>{"x"});
}

TEST_CASE("atomic_file: without commit() nothing has happened, wherever the file was moved to") {
  const TempDir folder;
  folder.write("x", "old");
  for (const char* const name : {"x", "y"}) {
    Result<AtomicFile> file = AtomicFile::create(folder.path(name));
    REQUIRE(file.ok());
    CHECK(file->write(bytes("new")).ok());
    AtomicFile moved = std::move(*file);
    CHECK(moved.write(bytes("er")).ok());
    Result<AtomicFile> other = AtomicFile::create(folder.path("z"));
    REQUIRE(other.ok());
    *other = std::move(moved);
  }
  CHECK(names(folder.path()) == std::vector<std::string>{"x"});
  CHECK(contents(folder.path("x")) == "old");
}

TEST_CASE("atomic_file: a link is followed, one after the other and to nowhere, too") {
  const TempDir folder;
  fs::create_directory(folder.path("a"));
  fs::create_directory(folder.path("b"));
  folder.write("a/target", "old");
  fs::create_symlink("../b/second", folder.path("a/first"));
  fs::create_symlink("../a/target", folder.path("b/second"));
  fs::create_symlink(folder.path("a/made"), folder.path("nowhere"));
  fs::create_symlink("b", folder.path("folder"));
  CHECK(save(folder.path("a/first"), "new").ok());
  CHECK(contents(folder.path("a/target")) == "new");
  CHECK(fs::is_symlink(folder.path("a/first")));
  CHECK(fs::is_symlink(folder.path("b/second")));
  CHECK(save(folder.path("nowhere"), "made").ok());
  CHECK(contents(folder.path("a/made")) == "made");
  CHECK(save(folder.path("folder/../a/target"), "again").ok());
  CHECK(contents(folder.path("a/target")) == "again");
  fs::create_symlink("loop", folder.path("loop"));
  CHECK(is_io_about(save(folder.path("loop"), "x"), "loop"));
  CHECK(names(folder.path("a")) == std::vector<std::string>{"first", "made", "target"});
  CHECK(names(folder.path("b")) == std::vector<std::string>{"second"});
}

TEST_CASE("atomic_file: a name without a folder is one in the folder that the process is in") {
  const TempDir folder;
  CHECK(in_child([&] { return ::chdir(folder.path().c_str()) != 0 || !save("x", "here") ? 1 : 0; }) == 0);
  CHECK(contents(folder.path("x")) == "here");
}

TEST_CASE("atomic_file: what isn't a file is not replaced") {
  const TempDir folder;
  fs::create_directory(folder.path("folder"));
  REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0644) == 0);
  fs::create_symlink("pipe", folder.path("link"));
  CHECK(is_io_about(save(folder.path("folder"), "x"), "is a directory"));
  CHECK(is_io_about(save(folder.path("folder/"), "x"), "is a directory"));
  CHECK(is_io_about(save(folder.path("pipe"), "x"), "is not a regular file"));
  CHECK(is_io_about(save(folder.path("link"), "x"), "is not a regular file"));
  CHECK(is_io_about(save("/dev/null", "x"), "/dev/null: is not a regular file"));
  CHECK(is_io_about(save(folder.path("none/x"), "x"), "none/x"));
  CHECK(is_io_about(save(folder.path("none/"), "x"), "none/"));
  CHECK(is_io_about(save(folder.path("pipe/x"), "x"), "pipe/x"));
  CHECK(is_io_about(save("", "x"), "No such file"));
  CHECK(is_io_about(save(folder.path("a") + std::string(1, '\0') + "b", "x"), "Invalid"));
  CHECK(is_io_about(save(folder.path(std::string(256, 'n')), "x"), "File name too long"));
  CHECK(names(folder.path()) == std::vector<std::string>{"folder", "link", "pipe"});
}

TEST_CASE("atomic_file: a name of 255 bytes is as good as any") {
  const TempDir folder;
  const std::string name(255, 'n');
  CHECK(save(folder.path(name), "one").ok());
  CHECK(save(folder.path(name), "two").ok());
  CHECK(contents(folder.path(name)) == "two");
  CHECK(names(folder.path()).size() == 1);
}

TEST_CASE("atomic_file: permissions are the old file's, or 0644 less the umask") {
  const TempDir folder;
  CHECK(in_child([&] {
          ::umask(027);
          return save(folder.path("new"), "x") ? 0 : 1;
        }) == 0);
  CHECK(mode_of(folder.path("new")) == 0640);
  for (const mode_t mode : {0600, 0666, 0444, 0755}) {
    REQUIRE(::chmod(folder.path("new").c_str(), mode) == 0);
    CHECK(save(folder.path("new"), "y").ok());
    CHECK(mode_of(folder.path("new")) == mode);
  }
}

TEST_CASE("atomic_file: a folder that can't be written to is an error") {
  const TempDir folder;
  fs::create_directory(folder.path("fixed"));
  folder.write("fixed/x", "old");
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  REQUIRE(::chmod(folder.path("fixed").c_str(), 0555) == 0);
  CHECK(in_child([&] {
          constexpr uid_t kNobody = 65534;
          if (::geteuid() == 0 && ::setuid(kNobody) != 0) return 2;
          return is_io_about(save(folder.path("fixed/x"), "new"), "Permission denied") ? 0 : 1;
        }) == 0);
  CHECK(contents(folder.path("fixed/x")) == "old");
  CHECK(names(folder.path("fixed")) == std::vector<std::string>{"x"});
  ::chmod(folder.path("fixed").c_str(), 0755);
}

TEST_CASE("atomic_file: a file beyond the process's limit is an error and no signal, whatever is done with signals") {
  const TempDir folder;
  folder.write("x", "old");
  const std::string big(100000, 'b');
  for (const bool ignored : {false, true}) {
    const int status = in_child([&] {
      if (ignored) std::signal(SIGXFSZ, SIG_IGN);
      rlimit limit = {};
      ::getrlimit(RLIMIT_FSIZE, &limit);
      limit.rlim_cur = 65536;
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
      Result<AtomicFile> file = AtomicFile::create(folder.path("x"));
      if (!file) return 3;
      if (!is_io_about(file->write(bytes(big)), "File too large")) return 4;
      sigset_t signals;
      if (sigpending(&signals) != 0 || sigismember(&signals, SIGXFSZ) != 0) return 5;
      if (pthread_sigmask(SIG_BLOCK, nullptr, &signals) != 0 || sigismember(&signals, SIGXFSZ) != 0) return 6;
      // A file with a piece missing must not come to stand in the target's place, even if the rest would fit.
      limit.rlim_cur = limit.rlim_max;
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 7;
      if (!is_io_about(file->commit(), "after a failed write")) return 8;
      { const AtomicFile gone = std::move(*file); }
      return names(folder.path()) == std::vector<std::string>{"x"} ? 0 : 9;
    });
    CHECK(status == 0);
  }
  CHECK(contents(folder.path("x")) == "old");
}

TEST_CASE("atomic_file: a full disk is an error, and the old file stays") {
  const TempDir folder;
  constexpr int kNoMount = 50;
  const int status = in_child([&] {
    // A disk of the child's own, which goes with it.
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
      return kNoMount;
    if (!save(folder.path("x"), "old")) return 1;
    if (!is_io_about(save(folder.path("x"), std::string(100000, 'b')), "No space left on device")) return 2;
    if (names(folder.path()) != std::vector<std::string>{"x"} || contents(folder.path("x")) != "old") return 3;
    return save(folder.path("x"), std::string(30000, 's')) ? 0 : 4;
  });
  if (status == kNoMount) MESSAGE("no right to mount a small disk: not tried");
  CHECK((status == 0 || status == kNoMount));
}

TEST_CASE("atomic_file: what a killed process left over goes, and nothing else") {
  const TempDir folder;
  const std::vector<std::string> others = {"x.tmp",     "x.1.tmp",    "x.1-.tmp",  "x.-1.tmp",    "x.1-0.tmp.bak",
                                           "x.1-a.tmp", "xy.1-0.tmp", "y.1-0.tmp", "x.1-2-3.tmp", ".x.1-0.tmp"};
  for (const std::string& name : others) folder.write(name, name);
  fs::create_directory(folder.path("x.7-0.tmp"));
  fs::create_symlink("x.tmp", folder.path("x.8-0.tmp"));
  REQUIRE(::mkfifo(folder.path("x.9-0.tmp").c_str(), 0644) == 0);
  folder.write("x.4194305-0.tmp", "no such process");
  folder.write("x.1-0.tmp", "the process lives and has nothing to do with it");
  folder.write("x." + std::to_string(::getpid()) + "-17.tmp", "an earlier process of this number");

  // Another save of the same file, under way in another process and in this one.
  int ready[2] = {}, done[2] = {};
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Result<AtomicFile> file = AtomicFile::create(folder.path("x"));
    char byte = 'r';
    const bool told = file.ok() && ::write(ready[1], &byte, 1) == 1 && ::read(done[0], &byte, 1) == 1;
    ::_exit(told && file->write(bytes("child")) && file->commit() ? 0 : 1);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  Result<AtomicFile> mine = AtomicFile::create(folder.path("x"));
  REQUIRE(mine.ok());
  CHECK(save(folder.path("x"), "third").ok());

  std::vector<std::string> left = others;
  left.insert(left.end(), {"x", "x.7-0.tmp", "x.8-0.tmp", "x.9-0.tmp", "x." + std::to_string(child) + "-0.tmp",
                           "x." + std::to_string(::getpid()) + "-0.tmp"});
  std::sort(left.begin(), left.end());
  CHECK(names(folder.path()) == left);
  CHECK(contents(folder.path("x")) == "third");
  REQUIRE(::write(done[1], &byte, 1) == 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(contents(folder.path("x")) == "child");
  CHECK(mine->write(bytes("mine")).ok());
  CHECK(mine->commit().ok());
  CHECK(contents(folder.path("x")) == "mine");
  for (const int end : {ready[0], ready[1], done[0], done[1]}) ::close(end);
}

TEST_CASE("atomic_file: threads that save the same file at once leave one of theirs, and nothing else") {
  const TempDir folder;
  std::vector<int> failures(4);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 25; ++i)
          failures[t] += !save(folder.path("x"), std::string(10000, static_cast<char>('a' + t)));
      });
  }
  CHECK(failures == std::vector<int>(4));
  const std::string text = contents(folder.path("x"));
  REQUIRE(text.size() == 10000);
  CHECK(text == std::string(10000, text[0]));
  CHECK(names(folder.path()) == std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace decant::cache
