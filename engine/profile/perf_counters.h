// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>

namespace decant::profile {

/// Counts of the CPU since PerfCounters::open(), of the process's own code without the kernel's. Where there are fewer
/// counters in the hardware than were asked for they take turns, and a count is what it would have been without.
struct CounterValues {
  std::optional<double> cycles, instructions;
  std::optional<double> cache_misses;  ///< of the last level, as the CPU calls it
  std::optional<double> tlb_misses;    ///< of loads, in the table of data pages
};

/// Counters of the hardware, from perf_event_open. They count the calling thread and every thread that it or its
/// children start afterwards: open them before the engine starts its own. Movable; read() is safe from any thread.
class PerfCounters {
 public:
  /// Always succeeds: what can't be counted is missing from the values, and note() says why.
  static PerfCounters open();

  PerfCounters(PerfCounters&& other) noexcept;
  PerfCounters& operator=(PerfCounters&& other) noexcept;
  ~PerfCounters();

  CounterValues read() const;

  /// Why a counter is missing, in words for people; empty where none is.
  const std::string& note() const noexcept { return note_; }
  bool any() const noexcept;

 private:
  PerfCounters() = default;

  static constexpr size_t kCounters = 4;
  std::optional<double> read_one(size_t counter) const;
  void drop(size_t counter);

  std::array<int, kCounters> fds_ = {-1, -1, -1, -1};  ///< in the order of CounterValues
  std::string note_;
};

}  // namespace decant::profile
