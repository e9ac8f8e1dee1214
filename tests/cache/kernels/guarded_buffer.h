// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>

#include <sys/mman.h>
#include <unistd.h>

namespace decant::test {

/// n values that end where the next page can't be read or written: one element too far traps. The start is as aligned
/// as n leaves it.
template <typename T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t n) : n_(n) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t data_bytes = (n * sizeof(T) + page - 1) / page * page;
    mapped_bytes_ = data_bytes + page;
    base_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::runtime_error("mmap");
    std::byte* const end = static_cast<std::byte*>(base_) + data_bytes;
    if (mprotect(end, page, PROT_NONE) != 0) throw std::runtime_error("mprotect");
    data_ = reinterpret_cast<T*>(end - n * sizeof(T));
  }
  explicit GuardedBuffer(std::span<const T> values) : GuardedBuffer(values.size()) {
    if (n_ > 0) std::memcpy(data_, values.data(), n_ * sizeof(T));
  }
  ~GuardedBuffer() { munmap(base_, mapped_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return n_; }
  bool same_bits(const GuardedBuffer& other) const {
    return n_ == other.n_ && std::memcmp(data_, other.data_, n_ * sizeof(T)) == 0;
  }

 private:
  size_t n_;
  size_t mapped_bytes_ = 0;
  void* base_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace decant::test
