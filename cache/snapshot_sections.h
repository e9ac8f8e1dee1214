// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "decant/result.h"

#include "cache/snapshot_file.h"

namespace decant::cache {

/// The bytes of a snapshot's header and sections; snapshot_file.h has the drawing.
enum class SnapshotSection : int { identity, layout, sequences, nodes, payload, block_groups, block_checksums };
inline constexpr int kSnapshotSections = 7;
inline constexpr uint32_t kSnapshotVersion = 1;
inline constexpr uint32_t kSnapshotKind = 1;  ///< a KV cache; other numbers are free
inline constexpr size_t kSnapshotHeaderBytes = 24 + kSnapshotSections * 16 + 8;
inline constexpr uint64_t kMaxSectionBytes = uint64_t{1} << 30;

struct SnapshotHeader {
  struct Entry {
    uint64_t bytes = 0;
    uint64_t checksum = 0;
  };
  uint64_t file_bytes = 0;
  std::array<Entry, kSnapshotSections> sections = {};

  Entry& operator[](SnapshotSection section) noexcept { return sections[static_cast<size_t>(section)]; }
  const Entry& operator[](SnapshotSection section) const noexcept { return sections[static_cast<size_t>(section)]; }
  /// Where a section begins.
  uint64_t offset(SnapshotSection section) const noexcept;
  /// Where the last one ends and the blocks begin.
  uint64_t blocks_begin() const noexcept;
};

std::array<std::byte, kSnapshotHeaderBytes> encode_header(const SnapshotHeader& header) noexcept;
/// Checks magic, version, kind, the checksum and each section's size against `file_bytes`.
Result<SnapshotHeader> decode_header(std::span<const std::byte, kSnapshotHeaderBytes> bytes, uint64_t file_bytes,
                                     const std::string& path);

/// A section's bytes, of contents that check_contents() has found nothing against; the block checksums' is empty.
std::string encode_section(SnapshotSection section, const SnapshotContents& contents);
/// The reverse, into `contents`; identity to block groups in their order, since nodes lean on the layout. Checks that
/// the fields are there and nothing else is, not that they make sense.
Status decode_section(SnapshotSection section, std::span<const std::byte> bytes, SnapshotContents& contents,
                      const std::string& path);
/// For messages, e.g. "block groups".
const char* to_string(SnapshotSection section) noexcept;

}  // namespace decant::cache
