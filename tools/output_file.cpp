// SPDX-License-Identifier: Apache-2.0
#include "tools/output_file.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::tools {

OutputFile::~OutputFile() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
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
  std::error_code unresolved;
  const std::filesystem::path resolved = std::filesystem::weakly_canonical(path, unresolved);
  target_ = unresolved ? path : resolved.string();
  std::string temporary = detail::format("{}.{}.tmp", target_, ::getpid());
  fd_ = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) return error("write");
  temporary_ = std::move(temporary);
  return {};
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error("write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status OutputFile::commit() {
  if (fd_ == STDOUT_FILENO) return {};
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) return error("write");  // a full disk may be told as late as this
  if (temporary_.empty()) return {};
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return error("write");
  temporary_.clear();
  return {};
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
