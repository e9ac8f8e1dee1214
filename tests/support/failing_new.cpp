// SPDX-License-Identifier: Apache-2.0
#include "tests/support/failing_new.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constexpr int64_t kNever = -1;
std::atomic<int64_t> n_until_failure{kNever};
std::atomic<bool> has_failed{false};
std::atomic<bool> all_after_fail{false};
std::atomic<int64_t> n_calls{0};
std::atomic<int64_t> n_live{0};
std::atomic<int64_t> n_live_bytes{0};

// The size stands in front of what is handed out, in as many bytes as keep that aligned.
void* allocate(size_t size, size_t alignment) noexcept {
  n_calls.fetch_add(1, std::memory_order_relaxed);
  // A thread that loses the race sees the count that the winner left, so that each number is used once.
  int64_t n = n_until_failure.load();
  while (n >= 0 && !(n == 0 && all_after_fail) && !n_until_failure.compare_exchange_weak(n, n - 1)) continue;
  if (n == 0) {
    has_failed = true;
    return nullptr;
  }
  const size_t front = std::max(alignment, alignof(std::max_align_t));
  const size_t wanted = front + size;
  if (wanted < size || wanted > SIZE_MAX - front) return nullptr;
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(front, (wanted + front - 1) / front * front));
  if (memory == nullptr) return nullptr;
  new (memory) size_t(size);
  ++n_live;
  n_live_bytes += static_cast<int64_t>(size);
  return memory + front;
}

void* allocate_or_throw(size_t size, size_t alignment) {
  if (void* const memory = allocate(size, alignment)) return memory;
  throw std::bad_alloc();
}

void release(void* memory, size_t alignment) noexcept {
  if (memory == nullptr) return;
  auto* const start = static_cast<std::byte*>(memory) - std::max(alignment, alignof(std::max_align_t));
  --n_live;
  n_live_bytes -= static_cast<int64_t>(*reinterpret_cast<size_t*>(start));
  std::free(start);
}

constexpr size_t kUsual = alignof(std::max_align_t);
size_t bytes(std::align_val_t alignment) { return static_cast<size_t>(alignment); }

}  // namespace

namespace decant::test {

FailingNew::FailingNew(int64_t n, bool all_after) noexcept {
  has_failed = false;
  all_after_fail = all_after;
  n_until_failure = n;
}
FailingNew::~FailingNew() { n_until_failure = kNever; }
bool FailingNew::failed() const noexcept { return has_failed; }

int64_t n_allocations() noexcept { return n_calls; }
int64_t n_live_allocations() noexcept { return n_live; }
int64_t live_bytes() noexcept { return n_live_bytes; }

}  // namespace decant::test

void* operator new(size_t n) { return allocate_or_throw(n, kUsual); }
void* operator new[](size_t n) { return allocate_or_throw(n, kUsual); }
void* operator new(size_t n, std::align_val_t a) { return allocate_or_throw(n, bytes(a)); }
void* operator new[](size_t n, std::align_val_t a) { return allocate_or_throw(n, bytes(a)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return allocate(n, kUsual); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return allocate(n, kUsual); }
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return allocate(n, bytes(a)); }
void* operator new[](size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return allocate(n, bytes(a)); }
void operator delete(void* memory) noexcept { release(memory, kUsual); }
void operator delete[](void* memory) noexcept { release(memory, kUsual); }
void operator delete(void* memory, size_t) noexcept { release(memory, kUsual); }
void operator delete[](void* memory, size_t) noexcept { release(memory, kUsual); }
void operator delete(void* memory, std::align_val_t a) noexcept { release(memory, bytes(a)); }
void operator delete[](void* memory, std::align_val_t a) noexcept { release(memory, bytes(a)); }
void operator delete(void* memory, size_t, std::align_val_t a) noexcept { release(memory, bytes(a)); }
void operator delete[](void* memory, size_t, std::align_val_t a) noexcept { release(memory, bytes(a)); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory, kUsual); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory, kUsual); }
void operator delete(void* memory, std::align_val_t a, const std::nothrow_t&) noexcept { release(memory, bytes(a)); }
void operator delete[](void* memory, std::align_val_t a, const std::nothrow_t&) noexcept { release(memory, bytes(a)); }
