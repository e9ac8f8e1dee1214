// SPDX-License-Identifier: Apache-2.0
#include "cache/snapshot_file.h"

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <utility>

#include "decant/detail/format.h"

#include "cache/atomic_file.h"
#include "cache/checksum.h"
#include "cache/snapshot_check.h"
#include "cache/snapshot_sections.h"

namespace decant::cache {
namespace {

Error no_memory() noexcept { return Error{ErrorCode::out_of_memory, "out of memory"}; }

size_t bytes_of_block(const SnapshotContents& contents, size_t block) {
  return contents.layout.block_bytes[static_cast<size_t>(contents.block_groups[block])];
}

// Where each block begins and the last one ends, from `begin` on; nothing if that is more than can be counted.
std::vector<uint64_t> block_offsets(const SnapshotContents& contents, uint64_t begin) {
  std::vector<uint64_t> offsets;
  offsets.reserve(contents.block_groups.size() + 1);
  offsets.push_back(begin);
  for (size_t b = 0; b < contents.block_groups.size(); ++b) {
    uint64_t end = 0;
    if (__builtin_add_overflow(offsets.back(), bytes_of_block(contents, b), &end) ||
        end > uint64_t{std::numeric_limits<int64_t>::max()})
      return {};
    offsets.push_back(end);
  }
  return offsets;
}

Error section_error(const std::string& path, SnapshotSection section, const char* why) {
  return Error{ErrorCode::bad_format, detail::format("{}: section '{}' {}", path, to_string(section), why)};
}

// Everything of a file but its blocks, as it goes to disk.
struct Sections {
  SnapshotHeader header;
  std::array<std::string, kSnapshotSections> bytes;
};

Result<Sections> encode(const std::string& path, const SnapshotContents& contents) {
  Sections sections;
  for (int i = 0; i < kSnapshotSections; ++i) {
    const auto section = static_cast<SnapshotSection>(i);
    std::string& bytes = sections.bytes[static_cast<size_t>(i)];
    bytes = section == SnapshotSection::block_checksums ? std::string(contents.block_groups.size() * 8, '\0')
                                                        : encode_section(section, contents);
    if (bytes.size() > kMaxSectionBytes)
      return Error{ErrorCode::invalid_argument,
                   detail::format("{}: section '{}' would have {} bytes, at most {} may be", path, to_string(section),
                                  bytes.size(), kMaxSectionBytes)};
    sections.header[section] = {bytes.size(), checksum(std::as_bytes(std::span(bytes)))};
  }
  const std::vector<uint64_t> offsets = block_offsets(contents, sections.header.blocks_begin());
  if (offsets.empty())
    return Error{ErrorCode::invalid_argument, detail::format("{}: more bytes of blocks than a file can have", path)};
  sections.header.file_bytes = offsets.back();
  return sections;
}

}  // namespace

Status write_snapshot(const std::string& path, const SnapshotContents& contents,
                      const std::function<std::span<const std::byte>(int block)>& block) try {
  if (Status sane = check_contents(contents, ErrorCode::invalid_argument, path); !sane) return sane;
  Result<Sections> sections = encode(path, contents);
  if (!sections) return std::move(sections).error();
  SnapshotHeader& header = sections->header;
  Result<AtomicFile> file = AtomicFile::create(path);
  if (!file) return std::move(file).error();

  // The header and the blocks' checksums are written last, over zeros: each block is read once.
  Status written = file->write(std::array<std::byte, kSnapshotHeaderBytes>{});
  for (const std::string& bytes : sections->bytes)
    if (written) written = file->write(std::as_bytes(std::span(bytes)));
  std::vector<uint64_t> sums(contents.block_groups.size());
  for (size_t b = 0; b < sums.size() && written; ++b) {
    const std::span<const std::byte> bytes = block(static_cast<int>(b));
    if (bytes.size() != bytes_of_block(contents, b))
      return Error{ErrorCode::invalid_argument, detail::format("{}: block {} has {} bytes, its layout says {}", path, b,
                                                               bytes.size(), bytes_of_block(contents, b))};
    sums[b] = checksum(bytes, b);
    written = file->write(bytes);
  }
  const std::span<const std::byte> sum_bytes = std::as_bytes(std::span(sums));
  if (written) written = file->write_at(header.offset(SnapshotSection::block_checksums), sum_bytes);
  header[SnapshotSection::block_checksums].checksum = checksum(sum_bytes);
  if (written) written = file->write_at(0, encode_header(header));
  return written ? file->commit() : written;
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<SnapshotReader> SnapshotReader::open(const std::string& path) noexcept try {
  Result<InputFile> file = InputFile::open(path);
  if (!file) return std::move(file).error();
  SnapshotReader reader(std::move(*file));
  if (Status read = reader.read_contents(); !read) return std::move(read).error();
  return reader;
} catch (const std::bad_alloc&) {
  return no_memory();
}

Status SnapshotReader::read_contents() {
  const std::string& path = file_.path();
  std::array<std::byte, kSnapshotHeaderBytes> bytes = {};
  if (file_.size_bytes() < bytes.size())
    return Error{ErrorCode::bad_format, detail::format("{}: the file has {} bytes, a snapshot has at least {}", path,
                                                       file_.size_bytes(), bytes.size())};
  if (Status read = file_.read_at(0, bytes); !read) return read;
  const Result<SnapshotHeader> header = decode_header(bytes, file_.size_bytes(), path);
  if (!header) return header.error();

  uint64_t at = bytes.size();
  for (int i = 0; i < kSnapshotSections; ++i) {
    const auto section = static_cast<SnapshotSection>(i);
    std::vector<std::byte> buffer((*header)[section].bytes);
    if (Status read = file_.read_at(at, buffer); !read) return read;
    if (checksum(buffer) != (*header)[section].checksum)
      return section_error(path, section, "doesn't agree with its checksum");
    at += buffer.size();
    if (section == SnapshotSection::block_checksums) {
      if (buffer.size() != contents_.block_groups.size() * sizeof(uint64_t))
        return section_error(path, section, "isn't as long as there are blocks");
      checksums_.resize(contents_.block_groups.size());
      std::copy(buffer.begin(), buffer.end(), std::as_writable_bytes(std::span(checksums_)).begin());
    } else if (Status decoded = decode_section(section, buffer, contents_, path); !decoded) {
      return decoded;
    }
  }
  if (Status sane = check_contents(contents_, ErrorCode::bad_format, path); !sane) return sane;
  offsets_ = block_offsets(contents_, header->blocks_begin());
  if (offsets_.empty() || offsets_.back() != file_.size_bytes())
    return Error{ErrorCode::bad_format, detail::format("{}: {} blocks end elsewhere than the file of {} bytes", path,
                                                       n_blocks(), file_.size_bytes())};
  return {};
}

Status SnapshotReader::read_block(int i, std::span<std::byte> to) const noexcept try {
  if (i < 0 || i >= n_blocks() || to.size() != block_bytes(i))
    return Error{ErrorCode::invalid_argument,
                 detail::format("{}: block {} of {} bytes: no such block", file_.path(), i, to.size())};
  if (Status read = file_.read_at(offsets_[static_cast<size_t>(i)], to); !read) return read;
  if (checksum(to, static_cast<uint64_t>(i)) != checksums_[static_cast<size_t>(i)])
    return Error{ErrorCode::bad_format,
                 detail::format("{}: block {} doesn't agree with its checksum", file_.path(), i)};
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

}  // namespace decant::cache
