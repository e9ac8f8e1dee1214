// SPDX-License-Identifier: Apache-2.0
#include "tools/output_file.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::tools {

OutputFile::~OutputFile() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
}

Error OutputFile::error(const char* what) const {
  return Error{ErrorCode::io, detail::format("cannot {} {}: {}", what, path_, std::generic_category().message(errno))};
}

Status OutputFile::open(const std::string& path) {
  path_ = path == "-" ? "standard output" : path;
  if (path == "-") {
    fd_ = STDOUT_FILENO;
    return {};
  }
  struct stat info = {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    return fd_ < 0 ? Status(error("write")) : Status();
  }
  Result<cache::AtomicFile> file = cache::AtomicFile::create(path, 0666);
  if (!file) return std::move(file).error();
  file_ = std::move(*file);
  return {};
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  if (file_) return file_->write(bytes);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error("write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status OutputFile::commit() {
  if (file_) return file_->commit();
  if (fd_ == STDOUT_FILENO) return {};
  const int fd = std::exchange(fd_, -1);
  return ::close(fd) != 0 ? Status(error("write")) : Status();  // a full disk may be told as late as this
}

std::string npy_header(size_t rows, size_t cols) {
  std::string dictionary =
      detail::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr size_t kPrefixBytes = 10, kAlign = 64;  // magic, version and length; the data begin at a multiple of 64
  while ((kPrefixBytes + dictionary.size() + 1) % kAlign != 0) dictionary += ' ';
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

}  // namespace decant::tools
