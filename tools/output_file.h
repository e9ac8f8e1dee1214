// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "decant/result.h"

#include "cache/atomic_file.h"

namespace decant::tools {

/// A file that appears under its name only when it is whole (AtomicFile). A device, pipe or "-" (standard output) is
/// written directly, since there is nothing to put in its place.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status open(const std::string& path);
  Status write(std::span<const std::byte> bytes);
  Status commit();

 private:
  Error error(const char* what) const;  ///< of errno

  std::string path_;  ///< as named in messages
  std::optional<cache::AtomicFile> file_;
  int fd_ = -1;  ///< written directly, where there is no file_
};

/// Header of a NumPy array file: little-endian float32 [rows, cols], C order.
std::string npy_header(size_t rows, size_t cols);

}  // namespace decant::tools
