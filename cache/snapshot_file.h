// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "decant/cache.h"
#include "decant/dtype.h"
#include "decant/result.h"

#include "cache/input_file.h"

namespace decant::cache {

/// How the blocks' bytes are to be read.
struct SnapshotLayout {
  struct Layer {
    int n_kv_heads = 0;
    int k_dim = 0;
    int v_dim = 0;
    int window = 0;  ///< 0: none
    bool v_in_k = false;
    bool operator==(const Layer&) const = default;
  };
  int block_tokens = 0;
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;
  std::vector<Layer> layers;
  std::vector<size_t> block_bytes;  ///< a group of layers
  bool operator==(const SnapshotLayout&) const = default;
};

/// A sequence's blocks in one group: entry i holds slots [i · block_tokens, (i + 1) · block_tokens).
struct SnapshotTable {
  int group = 0;
  std::vector<int32_t> blocks;  ///< numbers in the file, one for each block of n_tokens slots; −1: not kept
  int first_slot = 0;           ///< slots from here on are kept
  bool operator==(const SnapshotTable&) const = default;
};

struct SnapshotSequence {
  int32_t n_tokens = 0;
  int32_t pure_tokens = 0;            ///< ≤ n_tokens: from the front, as computed, never shifted
  std::vector<SnapshotTable> tables;  ///< one a group, in any order
  std::vector<std::byte> sinks;       ///< the caller's
  bool operator==(const SnapshotSequence&) const = default;
};

/// A node of a tree of prefixes: what follows its parent's tokens. Only a root may have no tokens, and only a parent
/// must have block_tokens (a root none).
struct SnapshotNode {
  int32_t parent = -1;  ///< an earlier node; −1: a root
  std::string salt;     ///< of roots only
  int32_t priority = 0;
  std::vector<int32_t> tokens;  ///< at most block_tokens
  std::vector<int32_t> blocks;  ///< numbers in the file, one a group; −1: vacant
  bool operator==(const SnapshotNode&) const = default;
};

/// Everything in a snapshot but its blocks' bytes.
struct SnapshotContents {
  SnapshotIdentity identity;
  SnapshotLayout layout;
  std::vector<SnapshotSequence> sequences;
  std::vector<SnapshotNode> nodes;
  std::vector<std::byte> payload;     ///< the caller's own
  std::vector<int32_t> block_groups;  ///< group of each block in the file
  bool operator==(const SnapshotContents&) const = default;
};

/// Writes a snapshot through AtomicFile: the old file or the new one, never a third thing. `block` gives the bytes of
/// each block of block_groups, asked once and in order, and written from where they lie: little memory is taken beside
/// what `contents` holds.
///
///   byte 0   ┌──────────────────────────────────────────────────────────────────────────────────────┐
///            │ "decantKV", u32 version, u32 kind, u64 bytes of the file                             │
///            │ of each section: u64 bytes, u64 checksum                     u64 checksum of the above │
///        160 ├──────────────────────────────────────────────────────────────────────────────────────┤
///            │ sections without gaps: identity, layout, sequences, nodes, payload, block groups,    │
///            │ block checksums (u64 each, seeded with the block's number)                           │
///            ├──────────────────────────────────────────────────────────────────────────────────────┤
///            │ blocks without gaps, as they lie in memory                                           │
///            └──────────────────────────────────────────────────────────────────────────────────────┘
///
/// Little-endian; checksums are XXH3. Every byte has one. The blocks aren't aligned: reading them at a page's edge was
/// measured to be no faster.
///
/// Errors: `io` (the old file is untouched), `invalid_argument` (contents that SnapshotReader would refuse, or a block
/// of another size than the layout's), `out_of_memory`. Throws what `block` throws, but for bad_alloc.
Status write_snapshot(const std::string& path, const SnapshotContents& contents,
                      const std::function<std::span<const std::byte>(int block)>& block);

/// Reads a snapshot with nothing but reads: a file that shrinks meanwhile is an error, not a signal.
/// Movable; read_block() is safe from many threads.
class SnapshotReader {
 public:
  /// Reads and checks everything but the blocks. Takes memory in proportion to the file's sections, 1 GiB each at the
  /// most, and none for a count that they can't hold. Every error names the file and what is wrong with it.
  /// `io`: missing, unreadable, no regular file (a pipe isn't waited for). `bad_format`: anything that doesn't agree
  /// with its checksum, the file's size or the rest. `unsupported`: a later version, or a cache type that this decant
  /// lacks. `out_of_memory`.
  static Result<SnapshotReader> open(const std::string& path) noexcept;

  const SnapshotContents& contents() const noexcept { return contents_; }
  int n_blocks() const noexcept { return static_cast<int>(contents_.block_groups.size()); }
  /// Bytes of block i < n_blocks().
  size_t block_bytes(int i) const noexcept {
    return contents_.layout.block_bytes[static_cast<size_t>(contents_.block_groups[static_cast<size_t>(i)])];
  }
  uint64_t file_bytes() const noexcept { return file_.size_bytes(); }

  /// Reads block i whole and compares its checksum; `to` holds block_bytes(i), and what it holds after an error is
  /// undefined. `invalid_argument`: no such block, or another size. `io`, `bad_format`.
  Status read_block(int i, std::span<std::byte> to) const noexcept;

 private:
  explicit SnapshotReader(InputFile file) : file_(std::move(file)) {}
  Status read_contents();

  InputFile file_;
  SnapshotContents contents_;
  std::vector<uint64_t> checksums_;  ///< of the blocks
  std::vector<uint64_t> offsets_;    ///< of the blocks in the file
};

/// `mismatch` if a snapshot was made for something else than is wanted. The message names the first field that differs
/// and both sides: "s.kv: made with cache types q8/q8, this engine has f16/f16". `out_of_memory`.
Status check_identity(const SnapshotContents& contents, const SnapshotIdentity& wanted,
                      const SnapshotLayout& wanted_layout, const std::string& path) noexcept;

}  // namespace decant::cache
