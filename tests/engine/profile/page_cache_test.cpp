// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/page_cache.h"

#include <fstream>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model/model_config.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::profile {
namespace {

using Paths = std::vector<std::string>;

/// Pages of this process that are in memory.
size_t resident_pages() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident;
}

}  // namespace

TEST_CASE("page_cache: a file that was just written is cached, and less of it when the system was asked to let go") {
  const test::TempDir folder;
  constexpr size_t kBytes = (size_t{20} << 20) + 123;
  folder.write("weights", std::string(kBytes, 'w'));
  const Paths paths = {folder.path("weights")};
  const std::optional<double> fresh = cached_share(paths);
  if (fresh) CHECK(*fresh == 1.0);

  const int fd = ::open(paths[0].c_str(), O_RDONLY);
  REQUIRE(fd != -1);
  CHECK(::fsync(fd) == 0);
  CHECK(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
  ::close(fd);
  const size_t before = resident_pages();
  const std::optional<double> dropped = cached_share(paths), again = cached_share(paths);
  CHECK(resident_pages() < before + (kBytes >> 12) / 2);
  CHECK(dropped.has_value() == fresh.has_value());
  if (dropped) {
    CHECK(*dropped >= 0.0);
    CHECK(*dropped <= 1.0);
    CHECK(again <= dropped);  // looking brings nothing in
  }
}

TEST_CASE("page_cache: of several files the bytes count, not the files") {
  const test::TempDir folder;
  folder.write("a", std::string(100, 'a'));
  folder.write("b", std::string(100'000, 'b'));
  const Paths both = {folder.path("a"), folder.path("b")};
  const std::optional<double> share = cached_share(both);
  if (share) CHECK(*share == 1.0);
}

TEST_CASE("page_cache: nothing is known of files that aren't there, empty or no files") {
  const test::TempDir folder;
  folder.write("there", "1234");
  folder.write("empty", "");
  REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  CHECK(!cached_share({}));
  for (const char* const name : {"missing", "empty", "pipe", ""}) {
    CAPTURE(name);
    const Paths paths = {folder.path("there"), folder.path(name)};
    CHECK(!cached_share(paths));
  }
}

TEST_CASE("weight_files: a file, the parts of a split, the safetensors of a directory") {
  CHECK(weight_files("/a/model.gguf") == Paths{"/a/model.gguf"});
  CHECK(weight_files("") == Paths{""});
  const Paths parts = {"/a/m-00001-of-00003.gguf", "/a/m-00002-of-00003.gguf", "/a/m-00003-of-00003.gguf"};
  for (const std::string& part : parts) CHECK(weight_files(part) == parts);
  for (const std::string name : {"/a/m-0001-of-00003.gguf", "m-00001-of-99999.gguf", "-00001-of-00000.gguf"})
    CHECK(weight_files(name) == Paths{name});

  const test::TempDir folder;
  CHECK(weight_files(folder.path()).empty());
  folder.write("config.json", "{}");
  folder.write("model-00002-of-00002.safetensors", "2");
  folder.write("model-00001-of-00002.safetensors", "1");
  const Paths shards = {folder.path("model-00001-of-00002.safetensors"),
                        folder.path("model-00002-of-00002.safetensors")};
  CHECK(weight_files(folder.path()) == shards);
  folder.write("model.safetensors", "whole");
  CHECK(weight_files(folder.path()) == Paths{folder.path("model.safetensors")});
}

TEST_CASE("weight_files: of a model are those that are opened") {
  for (const char* const name : {"models/llama-gqa", "gguf/qwen2-q8_0.gguf"}) {
    CAPTURE(name);
    const std::string path = test::fixture(name);
    const Result<model::ModelDescription> described = model::describe(path);
    REQUIRE(described);
    const Paths files = weight_files(path);
    for (const model::TensorInfo& tensor : described->files->tensors())
      CHECK(files == Paths{described->files->path(tensor)});
  }
}

TEST_CASE("disk_bytes_read: never falls") {
  const uint64_t before = disk_bytes_read();
  const test::TempDir folder;
  folder.write("file", "text");
  CHECK(disk_bytes_read() >= before);
}

}  // namespace decant::profile
