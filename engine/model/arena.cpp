// SPDX-License-Identifier: Apache-2.0
#include "engine/model/arena.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include <sys/mman.h>

#include "decant/detail/format.h"

namespace decant::model {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

#ifdef MADV_POPULATE_READ
constexpr int kPopulateRead = MADV_POPULATE_READ;
#else
constexpr int kPopulateRead = 22;  // Linux 5.14; older C libraries lack the name
#endif

}  // namespace

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

size_t Arena::bytes_for(size_t size_bytes) noexcept {
  return (std::max<size_t>(size_bytes, 1) + kHugePage - 1) / kHugePage * kHugePage;
}

Result<Arena> Arena::create(size_t size_bytes) {
  Arena arena;
  arena.size_bytes_ = bytes_for(size_bytes);
  void* const pages = mmap(nullptr, arena.size_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    return Error{ErrorCode::out_of_memory, detail::format("no memory for {} bytes of weights", arena.size_bytes_)};
  arena.data_ = static_cast<std::byte*>(pages);
  madvise(pages, arena.size_bytes_, MADV_HUGEPAGE);  // a wish; without huge pages everything still works
  return arena;
}

Result<Arena> Arena::map(const InputFile& file) {
  const uint64_t size_bytes = file.size_bytes();
  if (size_bytes == 0 || size_bytes > std::numeric_limits<size_t>::max())
    return Error{ErrorCode::bad_format, detail::format("{}: {} bytes can't be mapped", file.path(), size_bytes)};
  Arena arena;
  arena.size_bytes_ = static_cast<size_t>(size_bytes);
  void* const pages = mmap(nullptr, arena.size_bytes_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (pages == MAP_FAILED) {
    const int code = errno;
    return Error{code == ENOMEM ? ErrorCode::out_of_memory : ErrorCode::io,
                 detail::format("{}: can't be mapped: {}", file.path(), std::generic_category().message(code))};
  }
  arena.data_ = static_cast<std::byte*>(pages);
  madvise(pages, arena.size_bytes_, MADV_HUGEPAGE);  // a wish: read what is missing in large pieces
  return arena;
}

Status Arena::populate(size_t offset, size_t n) const {
  const size_t begin = offset / kPage * kPage;
  while (madvise(data_ + begin, offset + n - begin, kPopulateRead) != 0) {
    const int code = errno;
    if (code == EINTR) continue;
    if (code == EFAULT || code == EIO || code == EHWPOISON)
      return Error{ErrorCode::io, "can't be read, or was cut while it was opened"};
    break;  // an older kernel
  }
  return {};
}

}  // namespace decant::model
