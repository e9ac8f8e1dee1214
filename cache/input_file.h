// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "decant/result.h"

namespace decant::cache {

/// A regular file, open for reading at any offset. Movable; read_at() is safe from many threads.
class InputFile {
 public:
  /// `io` if the path is missing, unreadable or not a regular file.
  static Result<InputFile> open(const std::string& path);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& path() const noexcept { return path_; }
  uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// For a mapping of the file; stays the object's own.
  int descriptor() const noexcept { return descriptor_; }

  /// Bytes [offset, offset + out.size()). `io`; `bad_format` if the file ends before.
  Status read_at(uint64_t offset, std::span<std::byte> out) const;

 private:
  explicit InputFile(std::string path) : path_(std::move(path)) {}

  int descriptor_ = -1;
  uint64_t size_bytes_ = 0;
  std::string path_;
};

}  // namespace decant::cache
