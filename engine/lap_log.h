// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/thread_events.h"

namespace decant {

/// Who of a pool's threads worked when: what each did of the last jobs, in ticks(). Every thread notes its own; the
/// caller of the jobs may look at any time. A thread that was late to note is simply not there yet.
///
/// The caller itself, thread 0, works from a job's beginning until it waits: of it there are sums only.
class LapLog {
 public:
  /// A thread's part in a job.
  struct Lap {
    uint64_t begin = 0, end = 0;
    int n_pieces = 0;
  };
  /// What the caller did and went through so far.
  struct Own {
    uint64_t waited = 0;  ///< ticks, for others
    uint32_t n_pieces = 0;
  };

  LapLog(int n_threads, int n_jobs)
      : n_slots_(std::bit_ceil(static_cast<uint32_t>(n_jobs))),
        slots_(static_cast<size_t>(n_threads) * n_slots_),
        events_(static_cast<size_t>(n_threads)) {}

  void note(int thread, uint32_t job, const Lap& lap) noexcept {
    Slot& slot = slot_of(thread, job);
    slot.begin.store(lap.begin, std::memory_order_relaxed);
    slot.end.store(lap.end, std::memory_order_relaxed);
    slot.n_pieces.store(lap.n_pieces, std::memory_order_relaxed);
    slot.job.store(job, std::memory_order_release);
  }

  std::optional<Lap> find(int thread, uint32_t job) const noexcept {
    const Slot& slot = slot_of(thread, job);
    if (slot.job.load(std::memory_order_acquire) != job) return std::nullopt;
    return Lap{slot.begin.load(std::memory_order_relaxed), slot.end.load(std::memory_order_relaxed),
               slot.n_pieces.load(std::memory_order_relaxed)};
  }

  /// Brings the place for a thread's part in a job to its core, while it works.
  void expect(int thread, uint32_t job) noexcept { __builtin_prefetch(&slot_of(thread, job), 1); }

  // The caller's alone.
  void begin_wait(uint64_t now) noexcept { waits_since_ = now; }
  /// Where it waited, it did so until now; a later call changes nothing. The wait for a job ends with what comes next,
  /// which looks at the clock anyway.
  void end_wait(uint64_t now) noexcept {
    if (waits_since_ != 0) own_.waited += now - std::exchange(waits_since_, 0);
  }
  bool waits() const noexcept { return waits_since_ != 0; }
  void note_own(int n_pieces) noexcept { own_.n_pieces += static_cast<uint32_t>(n_pieces); }
  const Own& own() const noexcept { return own_; }

  /// From now on until told otherwise, threads note their events when they have done their part in a job.
  void want_events(bool wanted) noexcept { events_wanted_.store(wanted, std::memory_order_relaxed); }
  bool events_wanted() const noexcept { return events_wanted_.load(std::memory_order_relaxed); }
  void note_events(int thread) noexcept {
    const ThreadEvents now = ThreadEvents::now();
    Events& events = events_[static_cast<size_t>(thread)];
    events.page_faults.store(now.page_faults, std::memory_order_relaxed);
    events.major_page_faults.store(now.major_page_faults, std::memory_order_relaxed);
    events.switches.store(now.switches, std::memory_order_relaxed);
    events.involuntary.store(now.involuntary, std::memory_order_relaxed);
  }
  /// As a thread noted them last.
  ThreadEvents events(int thread) const noexcept {
    const Events& events = events_[static_cast<size_t>(thread)];
    return {events.page_faults.load(std::memory_order_relaxed),
            events.major_page_faults.load(std::memory_order_relaxed), events.switches.load(std::memory_order_relaxed),
            events.involuntary.load(std::memory_order_relaxed)};
  }

  uint32_t n_slots() const noexcept { return n_slots_; }

 private:
  struct alignas(32) Slot {
    std::atomic<uint64_t> begin{0}, end{0};
    std::atomic<int> n_pieces{0};
    std::atomic<uint32_t> job{0};
  };

  struct alignas(64) Events {
    std::atomic<int64_t> page_faults{0}, major_page_faults{0}, switches{0}, involuntary{0};
  };

  size_t index(int thread, uint32_t job) const noexcept {
    return static_cast<size_t>(thread) * n_slots_ + (job & (n_slots_ - 1));
  }
  Slot& slot_of(int thread, uint32_t job) noexcept { return slots_[index(thread, job)]; }
  const Slot& slot_of(int thread, uint32_t job) const noexcept { return slots_[index(thread, job)]; }

  uint32_t n_slots_;
  std::vector<Slot> slots_;
  std::vector<Events> events_;
  std::atomic<bool> events_wanted_{false};
  alignas(64) Own own_;  // away from what the other threads read
  uint64_t waits_since_ = 0;
};

}  // namespace decant
