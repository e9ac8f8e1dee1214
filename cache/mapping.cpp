// SPDX-License-Identifier: Apache-2.0
#include "cache/mapping.h"

#include <cerrno>
#include <cstdint>
#include <limits>

#include <sys/mman.h>

namespace decant::cache {
namespace {

#ifdef MADV_POPULATE_WRITE
constexpr int kPopulateWrite = MADV_POPULATE_WRITE;
#else
constexpr int kPopulateWrite = 23;  // Linux 5.14; older C libraries lack the name
#endif

std::byte* map(size_t bytes, int flags) noexcept {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

// A huge page needs an aligned address, which older kernels don't choose by themselves: map more, cut off both ends.
std::byte* map_aligned(size_t bytes) noexcept {
  if (bytes > std::numeric_limits<size_t>::max() - kHugePageBytes) return nullptr;
  std::byte* const data = map(bytes + kHugePageBytes, 0);
  if (data == nullptr) return nullptr;
  const size_t past = reinterpret_cast<uintptr_t>(data) % kHugePageBytes;
  const size_t head = past == 0 ? 0 : kHugePageBytes - past;
  if (head > 0) ::munmap(data, head);
  ::munmap(data + head + bytes, kHugePageBytes - head);
  return data + head;
}

bool fault_in(std::byte* data, size_t bytes) noexcept {
  if (bytes >= kHugePageBytes) ::madvise(data, bytes, MADV_HUGEPAGE);  // a wish: small pages are as right
  if (::madvise(data, bytes, kPopulateWrite) == 0) return true;
  if (errno == ENOMEM || errno == EFAULT || errno == EHWPOISON) return false;
  for (size_t at = 0; at < bytes; at += kPageBytes) *static_cast<volatile std::byte*>(data + at) = std::byte{0};
  return true;
}

}  // namespace

Mapping Mapping::take(size_t bytes, Fault fault) noexcept {
  if (bytes > std::numeric_limits<size_t>::max() - kPageBytes) return {};
  bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (fault == Fault::on_touch) {
    std::byte* const data = map(bytes, MAP_NORESERVE);
    return data == nullptr ? Mapping() : Mapping(data, bytes);
  }
  std::byte* const data = bytes >= kHugePageBytes ? map_aligned(bytes) : map(bytes, 0);
  if (data == nullptr) return {};
  Mapping mapping(data, bytes);
  return fault_in(data, bytes) ? std::move(mapping) : Mapping();
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

}  // namespace decant::cache
