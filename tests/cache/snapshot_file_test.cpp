// SPDX-License-Identifier: Apache-2.0
#include "cache/snapshot_file.h"

#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/checksum.h"
#include "cache/snapshot_sections.h"
#include "tests/cache/snapshot_case.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

using decant::test::TempDir;

bool is_error(const Status& status, ErrorCode code, std::string_view text) {
  if (status) return false;
  CAPTURE(status.error().message);
  CHECK(status.error().code == code);
  const bool says = status.error().message.find(text) != std::string::npos;
  CHECK(says);
  return status.error().code == code && says;
}

Status opened(const std::string& path) {
  const Result<SnapshotReader> reader = SnapshotReader::open(path);
  return reader ? Status() : Status(reader.error());
}

/// A folder with one file whose bytes a test chooses.
struct OneFile {
  TempDir folder;
  std::string path = folder.path("s.kv");

  Status open_with(const std::string& bytes) const {
    test::write_bytes(path, bytes);
    return opened(path);
  }
  Status read_with(const std::string& bytes) const {
    test::write_bytes(path, bytes);
    return test::read_all(path);
  }
  bool alone() const {
    return std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator()) ==
           1;
  }
};

TEST_CASE("snapshot_file: what is written is read back, over an old file too") {
  const OneFile file;
  for (const SnapshotContents& contents : {test::small_contents(), test::plain_contents(3, 100, 9),
                                           test::plain_contents(0, 64, 0), test::plain_contents(2, 300000, 5)}) {
    REQUIRE(test::write(file.path, contents).ok());
    const Status read = test::read_back(file.path, contents);
    CHECK_MESSAGE(read.ok(), read.error().message);
  }
  CHECK(file.alone());
}

TEST_CASE("snapshot_file: version 1 is these bytes") {
  const OneFile file;
  REQUIRE(test::write(file.path, test::small_contents()).ok());
  const std::string bytes = test::read_bytes(file.path);
  CHECK(bytes == test::forge(test::small_contents()));
  CHECK(bytes.size() == 1197);
  CHECK(bytes.substr(0, 12) == std::string("decantKV\1\0\0\0", 12));
  CHECK(checksum(std::as_bytes(std::span(bytes))) == 0x94117344e6f6f7fdU);
}

TEST_CASE("snapshot_file: every flipped byte, every truncation and every byte more is an error") {
  const OneFile file;
  const std::string whole = test::forge(test::small_contents());
  REQUIRE(file.read_with(whole).ok());
  int n_accepted = 0;
  for (size_t i = 0; i < whole.size(); ++i)
    for (const int flip : {1 << (i % 8), 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      n_accepted += file.read_with(bytes).ok();
    }
  CHECK(n_accepted == 0);
  for (size_t n = 0; n < whole.size(); ++n) n_accepted += file.open_with(whole.substr(0, n)).ok();
  CHECK(n_accepted == 0);
  for (const char c : {'\0', 'x'})
    for (const size_t n : {1, 8, 40, 48, 4096}) CHECK_FALSE(file.open_with(whole + std::string(n, c)).ok());
}

TEST_CASE("snapshot_file: a block in another's place is an error") {
  const OneFile file;
  std::string bytes = test::forge(test::plain_contents(2, 64, 1));
  const size_t n = bytes.size();
  std::swap_ranges(bytes.begin() + static_cast<ptrdiff_t>(n - 128), bytes.begin() + static_cast<ptrdiff_t>(n - 64),
                   bytes.begin() + static_cast<ptrdiff_t>(n - 64));
  CHECK(is_error(file.read_with(bytes), ErrorCode::bad_format, "s.kv: block 0 doesn't agree with its checksum"));
}

TEST_CASE("snapshot_file: another version, another kind and another file are told apart") {
  const OneFile file;
  std::string bytes = test::forge(test::small_contents());
  const auto reseal = [&] {  // the header's checksum once more
    const uint64_t sum = checksum(std::as_bytes(std::span(bytes)).first(kSnapshotHeaderBytes - sizeof sum));
    bytes.replace(kSnapshotHeaderBytes - sizeof sum, sizeof sum, reinterpret_cast<const char*>(&sum), sizeof sum);
  };
  bytes[8] = 2;
  CHECK(
      is_error(file.open_with(bytes), ErrorCode::unsupported, "a snapshot of version 2, this decant reads version 1"));
  bytes[8] = 0;
  CHECK(is_error(file.open_with(bytes), ErrorCode::bad_format, "checksum"));
  reseal();
  CHECK(is_error(file.open_with(bytes), ErrorCode::bad_format, "version is 0"));
  bytes[8] = 1;
  bytes[12] = 7;
  reseal();
  CHECK(is_error(file.open_with(bytes), ErrorCode::unsupported, "kind 7"));
  bytes[12] = 1;
  bytes[16] = static_cast<char>(bytes[16] + 1);
  reseal();
  CHECK(is_error(file.open_with(bytes), ErrorCode::bad_format, "its header says"));
  CHECK(is_error(file.open_with("GGUF" + std::string(1000, 'x')), ErrorCode::bad_format, "not a snapshot of decant"));
  CHECK(is_error(file.open_with("decantKV"), ErrorCode::bad_format, "the file has 8 bytes"));
  CHECK(is_error(file.open_with(""), ErrorCode::bad_format, "the file has 0 bytes"));
}

TEST_CASE("snapshot_file: a section's size that the file doesn't have is an error before any memory is taken") {
  const OneFile file;
  const std::string whole = test::forge(test::small_contents());
  for (int section = 0; section < kSnapshotSections; ++section)
    for (const uint64_t size : {uint64_t{0}, uint64_t{5000}, kMaxSectionBytes, kMaxSectionBytes + 1, uint64_t{1} << 62,
                                ~uint64_t{0}, ~uint64_t{0} - 100}) {
      std::string bytes = whole;
      bytes.replace(24 + static_cast<size_t>(section) * 16, 8, reinterpret_cast<const char*>(&size), 8);
      const uint64_t sum = checksum(std::as_bytes(std::span(bytes)).first(kSnapshotHeaderBytes - 8));
      bytes.replace(kSnapshotHeaderBytes - 8, 8, reinterpret_cast<const char*>(&sum), 8);
      const Status status = file.open_with(bytes);
      REQUIRE_FALSE(status.ok());
      CHECK(status.error().code == ErrorCode::bad_format);
    }
}

TEST_CASE("snapshot_file: a section that is cut short, goes on too long or has a count beyond it is an error") {
  const OneFile file;
  const SnapshotContents contents = test::small_contents();
  for (int s = 0; s < kSnapshotSections; ++s) {
    const auto section = static_cast<SnapshotSection>(s);
    if (section == SnapshotSection::payload) continue;  // any bytes are
    const std::string whole =
        section == SnapshotSection::block_checksums ? std::string(9 * 8, '\0') : encode_section(section, contents);
    CAPTURE(s);
    for (size_t n = 0; n < whole.size(); ++n) {
      const Status status = file.open_with(test::forge(contents, section, whole.substr(0, n)));
      REQUIRE_FALSE(status.ok());
      REQUIRE(status.error().code == ErrorCode::bad_format);
    }
    CHECK(is_error(file.open_with(test::forge(contents, section, whole + "x")), ErrorCode::bad_format,
                   to_string(section)));
  }
  const std::string huge(4, '\xff');
  const auto with = [&](SnapshotSection section, const std::string& bytes, std::string_view text) {
    return is_error(file.open_with(test::forge(contents, section, bytes)), ErrorCode::bad_format, text);
  };
  CHECK(with(SnapshotSection::sequences, huge + std::string(100, '\0'), "it has 4294967295 sequences"));
  CHECK(with(SnapshotSection::nodes, huge + std::string(100, '\0'), "it has 4294967295 nodes"));
  CHECK(with(SnapshotSection::block_groups, huge, "block groups at byte 4 takes 17179869180 bytes, 0 are left"));
  CHECK(with(SnapshotSection::identity, huge, "model at byte 4 takes 4294967295 bytes"));
  CHECK(with(SnapshotSection::sequences, std::string("\1\0\0\0", 4) + std::string(12, '\0') + std::string(8, '\xff'),
             "sinks at byte 24 takes 18446744073709551615 bytes"));
}

TEST_CASE("snapshot_file: a cache type that this decant lacks is unsupported, a flag that is none an error") {
  const OneFile file;
  const SnapshotContents contents = test::small_contents();
  std::string layout = encode_section(SnapshotSection::layout, contents);
  const size_t type = layout.find("f16");
  layout.replace(type, 3, "q\n\xc3");
  CHECK(is_error(file.open_with(test::forge(contents, SnapshotSection::layout, layout)), ErrorCode::unsupported,
                 "section 'layout': k_type is 'q\\x0a\\xc3', which this decant lacks"));
  layout.replace(type, 3, "f16");
  const size_t flag = 4 + 7 + 7 + 4 + 16;
  layout[flag] = 2;
  CHECK(is_error(file.open_with(test::forge(contents, SnapshotSection::layout, layout)), ErrorCode::bad_format,
                 "v_in_k is 2"));
}

TEST_CASE("snapshot_file: random bytes in sections with right checksums are an error or sane contents") {
  const OneFile file;
  const SnapshotContents contents = test::small_contents();
  std::mt19937 random(20240611);
  int n_read = 0;
  for (int round = 0; round < 5000; ++round) {
    const auto section = static_cast<SnapshotSection>(random() % 6);
    std::string bytes = encode_section(section, contents);
    for (auto n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % bytes.size();
      bytes[at] = static_cast<char>(random() % 2 == 0 ? random() : bytes[at] + (random() % 2 == 0 ? 1 : -1));
    }
    const Status status = file.read_with(test::forge(contents, section, bytes));
    n_read += status.ok();
    if (!status)
      REQUIRE((status.error().code == ErrorCode::bad_format || status.error().code == ErrorCode::unsupported));
  }
  CHECK(n_read > 0);
  CHECK(n_read < 5000);
}

TEST_CASE("snapshot_file: a path without a file of bytes is refused at once") {
  const OneFile file;
  CHECK(is_error(opened(file.path), ErrorCode::io, "s.kv: No such file"));
  CHECK(is_error(opened(file.folder.path()), ErrorCode::io, "is a directory"));
  CHECK(is_error(opened(file.folder.path("no/s.kv")), ErrorCode::io, "No such file"));
  CHECK(is_error(opened("/dev/zero"), ErrorCode::io, "is not a regular file"));
  REQUIRE(::mkfifo(file.path.c_str(), 0644) == 0);
  CHECK(is_error(opened(file.path), ErrorCode::io, "is not a regular file"));
  const SnapshotContents contents = test::small_contents();
  CHECK(is_error(test::write(file.path, contents), ErrorCode::io, "is not a regular file"));
  CHECK(is_error(test::write(file.folder.path(), contents), ErrorCode::io, "is a directory"));
  CHECK(is_error(test::write(file.folder.path("no/s.kv"), contents), ErrorCode::io, "s.kv"));
  CHECK(file.alone());
}

TEST_CASE("snapshot_file: a save that finds the disk full leaves the old file and nothing else, wherever it ends") {
  const OneFile file;
  const SnapshotContents old = test::plain_contents(3, 100, 1), contents = test::plain_contents(4, 5000, 2);
  REQUIRE(test::write(file.path, old).ok());
  const size_t n = test::forge(contents).size();
  for (const size_t limit :
       {size_t{0}, size_t{1}, kSnapshotHeaderBytes, size_t{300}, size_t{4096}, size_t{9000}, n - 1}) {
    CAPTURE(limit);
    CHECK(decant::test::in_child([&] {
            const rlimit file_bytes = {limit, RLIM_INFINITY};
            if (::setrlimit(RLIMIT_FSIZE, &file_bytes) != 0) return 2;
            const Status status = test::write(file.path, contents);
            return !status && status.error().code == ErrorCode::io ? 0 : 1;
          }) == 0);
    CHECK(test::read_back(file.path, old).ok());
    CHECK(file.alone());
  }
}

TEST_CASE("snapshot_file: a block of another size than the layout's ends the save") {
  const OneFile file;
  const SnapshotContents old = test::plain_contents(3, 100, 1);
  REQUIRE(test::write(file.path, old).ok());
  const std::vector<std::byte> bytes(200);
  for (const size_t n : {0, 99, 101})
    CHECK(is_error(
        write_snapshot(file.path, old, [&](int b) { return std::span(bytes).first(b == 1 ? n : size_t{100}); }),
        ErrorCode::invalid_argument, "block 1 has"));
  CHECK(test::read_back(file.path, old).ok());
  CHECK(file.alone());
}

TEST_CASE("snapshot_file: read_block() takes blocks that there are, in their size") {
  const OneFile file;
  REQUIRE(test::write(file.path, test::small_contents()).ok());
  const Result<SnapshotReader> reader = SnapshotReader::open(file.path);
  REQUIRE(reader.ok());
  CHECK(reader->n_blocks() == 9);
  CHECK(reader->block_bytes(0) == 48);
  CHECK(reader->block_bytes(3) == 40);
  CHECK(reader->file_bytes() == test::read_bytes(file.path).size());
  std::vector<std::byte> block(48);
  CHECK(reader->read_block(0, block).ok());
  for (const int i : {-1, 9, 3, std::numeric_limits<int>::max()})
    CHECK(is_error(reader->read_block(i, block), ErrorCode::invalid_argument, "s.kv: block"));
}

TEST_CASE("snapshot_file: a file that changes or shrinks while it is open is an error, one replaced is not") {
  const OneFile file;
  const SnapshotContents contents = test::plain_contents(4, 4096, 3);
  REQUIRE(test::write(file.path, contents).ok());
  const Result<SnapshotReader> reader = SnapshotReader::open(file.path);
  REQUIRE(reader.ok());
  REQUIRE(test::write(file.path, test::plain_contents(1, 64, 4)).ok());
  std::vector<std::byte> block(4096);
  for (int b = 0; b < 4; ++b) {
    CHECK(reader->read_block(b, block).ok());
    CHECK(block == test::block_of(contents, b));
  }

  REQUIRE(test::write(file.path, contents).ok());
  const Result<SnapshotReader> again = SnapshotReader::open(file.path);
  REQUIRE(again.ok());
  REQUIRE(::truncate(file.path.c_str(), static_cast<off_t>(again->file_bytes() - 1)) == 0);
  CHECK(again->read_block(2, block).ok());
  CHECK(is_error(again->read_block(3, block), ErrorCode::bad_format, "file ends at byte"));
}

}  // namespace
}  // namespace decant::cache
