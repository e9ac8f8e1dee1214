// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "cache/snapshot_file.h"
#include "cache/snapshot_sections.h"

namespace decant::cache::test {

/// A small snapshot with something of everything: two groups, shared and missing blocks, a tree of two tenants.
SnapshotContents small_contents();
/// A snapshot of one sequence in n_blocks blocks of block_bytes; `seed` goes into payload and blocks.
SnapshotContents plain_contents(int n_blocks, size_t block_bytes, uint8_t seed);

/// Bytes of block b, made of its number and the first byte of the payload.
std::vector<std::byte> block_of(const SnapshotContents& contents, int b);
Status write(const std::string& path, const SnapshotContents& contents);
/// Opens a file and reads every block: the error, or `internal` if it says anything else than `expected`.
Status read_back(const std::string& path, const SnapshotContents& expected);
/// Opens a file and reads every block, whatever they say.
Status read_all(const std::string& path);

/// A file with right checksums, whatever its contents say; a section may be given as bytes.
std::string forge(const SnapshotContents& contents, SnapshotSection replaced, const std::string& bytes);
std::string forge(const SnapshotContents& contents);

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, std::string_view bytes);

}  // namespace decant::cache::test
