// SPDX-License-Identifier: Apache-2.0
#include "engine/model/input_file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::model {

namespace {

constexpr uint64_t kMaxText = uint64_t{1} << 30;
constexpr size_t kMaxRead = size_t{1} << 30;  // one pread takes at most 2^31 - 4096 bytes

Error system_error(const std::string& path, int code) {
  return Error{ErrorCode::io, detail::format("{}: {}", path, std::generic_category().message(code))};
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& path) {
  int descriptor = -1;
  do {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return system_error(path, errno);
  InputFile file(descriptor, path);
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return system_error(path, errno);
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

Result<std::string> read_text(const std::string& path) {
  Result<InputFile> file = InputFile::open(path);
  if (!file) return file.error();
  if (file->size_bytes() > kMaxText)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: {} bytes are more than decant reads as text", path, file->size_bytes())};
  std::string text(static_cast<size_t>(file->size_bytes()), '\0');
  if (Status read = file->read_at(0, std::as_writable_bytes(std::span(text))); !read) return read.error();
  return text;
}

}  // namespace decant::model
