// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

namespace decant::cache {

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kHugePageBytes = size_t{2} << 20;

/// Anonymous pages of the operating system, zeroed, given back when destroyed. Movable, not copyable.
class Mapping {
 public:
  enum class Fault {
    now,       ///< every page is there when take() returns, in huge pages where the system has them
    on_touch,  ///< address space only; a page costs memory when it is first touched
  };

  /// bytes > 0, rounded up to whole pages. Empty if the operating system has no more. Calls no allocator.
  static Mapping take(size_t bytes, Fault fault) noexcept;

  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~Mapping();

  explicit operator bool() const noexcept { return data_ != nullptr; }
  std::byte* data() const noexcept { return data_; }
  size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  Mapping(std::byte* data, size_t size_bytes) noexcept : data_(data), size_bytes_(size_bytes) {}
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace decant::cache
