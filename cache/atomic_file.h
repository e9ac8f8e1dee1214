// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/types.h>

#include "decant/result.h"

namespace decant::cache {

/// A file that appears under its name only when it is whole: written to a temporary file beside it, synced, renamed.
/// A process that is killed, or a machine that stops, leaves the old file or the new one, never a third thing.
///
/// The temporary file is called NAME.PID-N.tmp and is locked (flock) for as long as somebody writes it. What a killed
/// process left behind is nobody's lock, so the next create() for the same target takes it away: the lock tells the
/// dead from the living across containers too, where a process id doesn't.
///
/// Nothing is thrown; without memory a call returns `out_of_memory`. One thread at a time; files of the same target may
/// be written at once, and the last commit() stays.
class AtomicFile {
 public:
  /// A link at `path` is followed: what it points to is replaced. A file that is there lends its permission bits to
  /// the new one; otherwise they are `mode` less the process's umask. The new file belongs to whoever wrote it, and
  /// other names of the old one (hard links) keep the old contents.
  /// `io`: no such folder, no permission in it, a target that is a folder, a pipe, a device.
  static Result<AtomicFile> create(const std::string& path, mode_t mode = 0644) noexcept;

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();  ///< takes away what was not committed

  /// Appends. `io` where the disk is full or a quota or the process's limit of file sizes is reached; no signal is
  /// raised for the last.
  Status write(std::span<const std::byte> bytes) noexcept;
  /// Writes over bytes that have been written before.
  Status write_at(uint64_t offset, std::span<const std::byte> bytes) noexcept;
  /// Puts the file in the target's place, durably; nothing may follow. `io`: the target is untouched, unless the
  /// message says that only the folder could not be synced. Refused after a write() that failed.
  Status commit() noexcept;

 private:
  AtomicFile() = default;
  Status set_target(const std::string& path);
  Status open_temporary(mode_t mode, bool keep_mode);
  void remove_left_over() const noexcept;
  Status write_all(uint64_t offset, std::span<const std::byte> bytes);
  Error failed(const char* what, int code) const;

  std::string path_;       ///< as named in messages
  std::string name_;       ///< of the target in its folder, links resolved
  std::string temporary_;  ///< in the same folder; meaningful while file_ is open
  int folder_ = -1;
  int file_ = -1;
  uint64_t size_bytes_ = 0;
  bool broken_ = false;  ///< a write failed: what stands there is no file of anybody's
};

}  // namespace decant::cache
