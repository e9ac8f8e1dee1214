// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <vector>

#include <doctest/doctest.h>

#include "cache/atomic_file.h"
#include "tests/cache/snapshot_case.h"
#include "tests/support/failing_new.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

std::ptrdiff_t n_entries(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

// Runs `call` with its n-th allocation failing, for every n; each failure must be told, and `check`ed.
template <typename F, typename Check>
void fail_each_allocation(F&& call, Check&& check) {
  const std::ptrdiff_t n_open = n_entries("/proc/self/fd");
  for (int64_t n = 0;; ++n) {
    CAPTURE(n);
    REQUIRE(n < 10000);
    bool failed = false, ok = false, right_code = false;
    const int64_t n_live = decant::test::n_live_allocations();
    {
      const decant::test::FailingNew failing(n);
      const Status status = call();
      failed = failing.failed();
      ok = status.ok();
      right_code = !ok && status.error().code == ErrorCode::out_of_memory;
    }
    CHECK(decant::test::n_live_allocations() == n_live);
    CHECK(n_entries("/proc/self/fd") == n_open);
    if (!failed) {
      CHECK(ok);
      return;
    }
    CHECK(right_code);
    check();
  }
}

TEST_CASE("snapshot_file: each allocation of a save that fails is out_of_memory, and the old file stays alone") {
  const decant::test::TempDir folder;
  const std::string path = folder.path("s.kv");
  const SnapshotContents old = test::plain_contents(2, 64, 1), contents = test::small_contents();
  REQUIRE(test::write(path, old).ok());
  std::vector<std::vector<std::byte>> blocks;
  for (int b = 0; b < static_cast<int>(contents.block_groups.size()); ++b)
    blocks.push_back(test::block_of(contents, b));
  fail_each_allocation(
      [&] { return write_snapshot(path, contents, [&](int b) { return std::span<const std::byte>(blocks[b]); }); },
      [&] {
        CHECK(test::read_back(path, old).ok());
        CHECK(n_entries(folder.path()) == 1);
      });
  CHECK(test::read_back(path, contents).ok());
}

TEST_CASE("snapshot_file: each allocation of a reader that fails is out_of_memory") {
  const decant::test::TempDir folder;
  const std::string path = folder.path("s.kv");
  const SnapshotContents contents = test::small_contents();
  REQUIRE(test::write(path, contents).ok());
  const auto nothing = [] {};
  fail_each_allocation(
      [&] {
        const Result<SnapshotReader> reader = SnapshotReader::open(path);
        return reader ? Status()
                      : Status(reader.error().code == ErrorCode::out_of_memory ? Error{ErrorCode::out_of_memory, {}}
                                                                               : Error{ErrorCode::internal, {}});
      },
      nothing);
}

TEST_CASE("snapshot_file: an error whose message finds no memory is out_of_memory") {
  const decant::test::TempDir folder;
  const std::string path = folder.path("a name that is too long to lie in a string itself.kv");
  const std::string no_folder = path + "/x";
  const SnapshotContents contents = test::small_contents();
  REQUIRE(test::write(path, contents).ok());
  const Result<SnapshotReader> reader = SnapshotReader::open(path);
  REQUIRE(reader.ok());
  std::vector<std::byte> block(reader->block_bytes(0));
  SnapshotIdentity wanted = contents.identity;
  wanted.numerics = "other numerics than those of the file that was written above";
  // With enough memory for its message an error is what it is: turned into success here, to end the loop.
  const auto unless_no_memory = [](const Status& status) {
    return !status && status.error().code == ErrorCode::out_of_memory ? Status(Error{ErrorCode::out_of_memory, {}})
                                                                      : Status();
  };
  const auto nothing = [] {};
  fail_each_allocation([&] { return unless_no_memory(reader->read_block(-1, block)); }, nothing);
  fail_each_allocation([&] { return unless_no_memory(check_identity(contents, wanted, contents.layout, path)); },
                       nothing);
  fail_each_allocation(
      [&] {
        Result<AtomicFile> file = AtomicFile::create(no_folder);
        return unless_no_memory(file ? Status() : Status(std::move(file).error()));
      },
      nothing);
}

}  // namespace
}  // namespace decant::cache
