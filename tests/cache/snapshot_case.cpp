// SPDX-License-Identifier: Apache-2.0
#include "tests/cache/snapshot_case.h"

#include <fstream>
#include <iterator>
#include <optional>

#include "decant/detail/format.h"

#include "cache/checksum.h"

namespace decant::cache::test {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string forge_with(const SnapshotContents& contents, std::optional<SnapshotSection> replaced,
                       const std::string& replacement) {
  std::string blocks;
  std::vector<uint64_t> sums;
  for (size_t b = 0; b < contents.block_groups.size(); ++b) {
    const int32_t group = contents.block_groups[b];
    if (group < 0 || static_cast<size_t>(group) >= contents.layout.block_bytes.size()) {
      sums.push_back(0);
      continue;
    }
    const std::vector<std::byte> block = block_of(contents, static_cast<int>(b));
    blocks.append(reinterpret_cast<const char*>(block.data()), block.size());
    sums.push_back(checksum(block, b));
  }
  SnapshotHeader header;
  std::string sections;
  for (int i = 0; i < kSnapshotSections; ++i) {
    const auto section = static_cast<SnapshotSection>(i);
    std::string bytes = section == SnapshotSection::block_checksums
                            ? std::string(reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(uint64_t))
                            : encode_section(section, contents);
    if (replaced == section) bytes = replacement;
    header[section] = {bytes.size(), checksum(std::as_bytes(std::span(bytes)))};
    sections += bytes;
  }
  header.file_bytes = header.blocks_begin() + blocks.size();
  const auto head = encode_header(header);
  std::string file(reinterpret_cast<const char*>(head.data()), head.size());
  return file + sections + blocks;
}

}  // namespace

SnapshotContents small_contents() {
  SnapshotContents contents;
  contents.identity = {"tiny", "0123456789abcdef", "decant 1"};
  contents.layout = {16, KvType::f16, KvType::f32, {{2, 8, 8, 0, false}, {1, 24, 16, 20, true}}, {48, 40}};
  contents.payload = bytes_of("the caller's own");
  contents.block_groups = {0, 0, 0, 1, 1, 0, 1, 0, 1};
  // 40 tokens, of which the window keeps 21; and 33 that share the first two blocks.
  contents.sequences = {{40, 40, {{0, {0, 1, 2}, 0}, {1, {-1, 3, 4}, 19}}, {}},
                        {33, 17, {{1, {-1, -1, 6}, 32}, {0, {0, 1, 5}, 0}}, bytes_of("sinks")}};
  const std::vector<int32_t> full = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  contents.nodes = {{-1, "tenant a", 0, {}, {-1, -1}},
                    {0, "", 3, full, {0, -1}},
                    {1, "", 3, {7, 8, 9}, {7, 8}},
                    {-1, "", -1, full, {1, 3}},
                    {3, "", -1, {1}, {2, 4}}};
  return contents;
}

SnapshotContents plain_contents(int n_blocks, size_t block_bytes, uint8_t seed) {
  SnapshotContents contents;
  contents.identity = {"plain", "f", "n"};
  contents.layout = {16, KvType::f16, KvType::f16, {{1, 8, 8, 0, false}}, {block_bytes}};
  contents.payload = {std::byte{seed}};
  SnapshotTable table;
  for (int b = 0; b < n_blocks; ++b) {
    contents.block_groups.push_back(0);
    table.blocks.push_back(b);
  }
  contents.sequences = {{n_blocks * 16, 0, {table}, {}}};
  return contents;
}

std::vector<std::byte> block_of(const SnapshotContents& contents, int b) {
  const size_t bytes = contents.layout.block_bytes[static_cast<size_t>(contents.block_groups[static_cast<size_t>(b)])];
  const unsigned seed = contents.payload.empty() ? 0 : static_cast<unsigned>(contents.payload[0]);
  std::vector<std::byte> block(bytes);
  for (size_t i = 0; i < bytes; ++i)
    block[i] = static_cast<std::byte>((i * 7 + static_cast<size_t>(b) * 31 + seed) & 0xff);
  return block;
}

Status write(const std::string& path, const SnapshotContents& contents) {
  std::vector<std::byte> block;
  return write_snapshot(path, contents, [&](int b) {
    block = block_of(contents, b);
    return std::span<const std::byte>(block);
  });
}

Status read_back(const std::string& path, const SnapshotContents& expected) {
  const Result<SnapshotReader> reader = SnapshotReader::open(path);
  if (!reader) return reader.error();
  if (reader->contents() != expected) return Error{ErrorCode::internal, "other contents"};
  for (int b = 0; b < reader->n_blocks(); ++b) {
    std::vector<std::byte> block(reader->block_bytes(b));
    if (Status read = reader->read_block(b, block); !read) return read;
    if (block != block_of(expected, b)) return Error{ErrorCode::internal, detail::format("other bytes in block {}", b)};
  }
  return {};
}

Status read_all(const std::string& path) {
  const Result<SnapshotReader> reader = SnapshotReader::open(path);
  if (!reader) return reader.error();
  for (int b = 0; b < reader->n_blocks(); ++b) {
    std::vector<std::byte> block(reader->block_bytes(b));
    if (Status read = reader->read_block(b, block); !read) return read;
  }
  return {};
}

std::string forge(const SnapshotContents& contents, SnapshotSection replaced, const std::string& bytes) {
  return forge_with(contents, replaced, bytes);
}
std::string forge(const SnapshotContents& contents) { return forge_with(contents, {}, {}); }

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace decant::cache::test
