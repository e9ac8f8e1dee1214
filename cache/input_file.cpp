// SPDX-License-Identifier: Apache-2.0
#include "cache/input_file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::cache {
namespace {

constexpr size_t kMaxRead = size_t{1} << 30;  // one pread takes at most 2^31 - 4096 bytes

Error system_error(const std::string& path, int code) {
  return Error{ErrorCode::io, detail::format("{}: {}", path, std::generic_category().message(code))};
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& path) {
  InputFile file(path);
  do {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (file.descriptor_ < 0 && errno == EINTR);
  if (file.descriptor_ < 0) return system_error(path, errno);
  struct stat status = {};
  if (::fstat(file.descriptor_, &status) != 0) return system_error(path, errno);
  if (!S_ISREG(status.st_mode))
    return Error{ErrorCode::io,
                 detail::format("{}: {}", path, S_ISDIR(status.st_mode) ? "is a directory" : "is not a regular file")};
  file.size_bytes_ = static_cast<uint64_t>(status.st_size);
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_),
      path_(std::move(other.path_)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(path_, other.path_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status InputFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  const uint64_t end = offset + out.size();
  while (!out.empty()) {
    const ssize_t n = ::pread(descriptor_, out.data(), std::min(out.size(), kMaxRead), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path_, errno);
    if (n == 0)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: file ends at byte {}, wanted bytes up to {}", path_, offset, end)};
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace decant::cache
