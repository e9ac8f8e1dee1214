// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <sys/resource.h>

namespace decant {

/// What the system counts of a thread.
struct ThreadEvents {
  int64_t page_faults = 0;        ///< served from memory
  int64_t major_page_faults = 0;  ///< that had to read a disk
  int64_t switches = 0;           ///< it slept
  int64_t involuntary = 0;        ///< it had to leave its CPU to another

  /// Of the calling thread, so far. Some 0.3 microseconds; for all threads of the process at once it would be many,
  /// since the kernel then locks the run queues of other CPUs.
  static ThreadEvents now() noexcept {
    rusage usage = {};
    ::getrusage(RUSAGE_THREAD, &usage);
    return {usage.ru_minflt, usage.ru_majflt, usage.ru_nvcsw, usage.ru_nivcsw};
  }

  ThreadEvents& operator+=(const ThreadEvents& other) noexcept {
    page_faults += other.page_faults;
    major_page_faults += other.major_page_faults;
    switches += other.switches;
    involuntary += other.involuntary;
    return *this;
  }
};

}  // namespace decant
