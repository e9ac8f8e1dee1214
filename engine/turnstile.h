// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace decant {

/// A lock that is passed on in the order in which it was asked for: a thread that steps without a pause keeps nobody
/// out. For std::lock_guard.
class Turnstile {
 public:
  void lock() {
    std::unique_lock held(mutex_);
    const uint64_t mine = n_asked_++;
    turn_.wait(held, [&] { return n_through_ == mine; });
  }

  void unlock() {
    {
      const std::lock_guard held(mutex_);
      ++n_through_;
    }
    turn_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  uint64_t n_asked_ = 0, n_through_ = 0;
};

}  // namespace decant
