// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/perf_counters.h"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <span>
#include <system_error>
#include <utility>

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::profile {
namespace {

struct Event {
  uint32_t type;
  uint64_t config;
};

constexpr uint64_t cache_misses_of(uint64_t cache) {
  return cache | (uint64_t{PERF_COUNT_HW_CACHE_OP_READ} << 8) | (uint64_t{PERF_COUNT_HW_CACHE_RESULT_MISS} << 16);
}

/// What counts a thing, the best first.
constexpr Event kCycles[] = {{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES}};
constexpr Event kInstructions[] = {{PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS}};
constexpr Event kCacheMisses[] = {{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
                                  {PERF_TYPE_HW_CACHE, cache_misses_of(PERF_COUNT_HW_CACHE_LL)}};
constexpr Event kTlbMisses[] = {{PERF_TYPE_HW_CACHE, cache_misses_of(PERF_COUNT_HW_CACHE_DTLB)}};

struct Counter {
  const char* name;
  std::span<const Event> events;
};
constexpr Counter kAll[] = {
    {"cycles", kCycles}, {"instructions", kInstructions}, {"cache misses", kCacheMisses}, {"TLB misses", kTlbMisses}};
constexpr size_t kInstructionsAt = 1;

/// A descriptor, or -1 with errno. Each counter stands alone: a group can't be inherited by threads.
int open_event(const Event& event) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = event.type;
  attributes.config = event.config;
  attributes.inherit = 1;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  constexpr int kThisThread = 0, kAnyCpu = -1, kNoGroup = -1;
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, kThisThread, kAnyCpu, kNoGroup, PERF_FLAG_FD_CLOEXEC));
}

std::string refusal(int code) {
  const std::string text = "perf_event_open: " + std::generic_category().message(code);
  if (code == ENOENT || code == EOPNOTSUPP || code == ENODEV)
    return text + " (this machine, or its hypervisor, gives no such hardware counter)";
  if (code == ENOSYS) return text + " (the kernel, or a sandbox around the process, has no such call)";
  if (code != EACCES && code != EPERM) return text;
  std::ifstream setting("/proc/sys/kernel/perf_event_paranoid");
  int paranoid = 0;
  if (!(setting >> paranoid)) return text + " (a sandbox around the process forbids it)";
  constexpr int kMostAllowed = 2;  // a process may then count its own code
  if (paranoid > kMostAllowed)
    return detail::format("{} (kernel.perf_event_paranoid is {}; {} or less allows it)", text, paranoid, kMostAllowed);
  return detail::format(
      "{} (kernel.perf_event_paranoid is {}, which allows it: a sandbox around the process forbids it)", text,
      paranoid);
}

/// Some instructions, so that a counter that counts can't stand at zero.
void work() {
  volatile unsigned sink = 0;
  for (unsigned i = 0; i < 100'000; ++i) sink = sink + i;
}

}  // namespace

PerfCounters PerfCounters::open() {
  PerfCounters counters;
  std::string missing, reason;
  const auto miss = [&](size_t counter, const std::string& why) {
    missing += (missing.empty() ? "" : ", ") + std::string(kAll[counter].name);
    if (reason.empty()) reason = why;
  };
  for (size_t i = 0; i < kCounters; ++i) {
    int code = 0;
    for (const Event& event : kAll[i].events) {
      counters.fds_[i] = open_event(event);
      if (counters.fds_[i] != -1) break;
      if (code == 0) code = errno;
    }
    if (counters.fds_[i] == -1) miss(i, refusal(code));
  }
  work();
  // Some hypervisors let a counter be opened and never let it count.
  const bool stands = counters.fds_[kInstructionsAt] != -1 && counters.read_one(kInstructionsAt).value_or(0.0) == 0.0;
  for (size_t i = 0; i < kCounters; ++i)
    if (counters.fds_[i] != -1 && (stands || !counters.read_one(i))) {
      counters.drop(i);
      miss(i, "the hardware's counters stand still (a hypervisor withholds them, or others use them)");
    }
  if (!missing.empty()) counters.note_ = counters.any() ? detail::format("no {}: {}", missing, reason) : reason;
  return counters;
}

PerfCounters::PerfCounters(PerfCounters&& other) noexcept
    : fds_(std::exchange(other.fds_, {-1, -1, -1, -1})), note_(std::move(other.note_)) {}

PerfCounters& PerfCounters::operator=(PerfCounters&& other) noexcept {
  std::swap(fds_, other.fds_);
  std::swap(note_, other.note_);
  return *this;
}

PerfCounters::~PerfCounters() {
  for (size_t i = 0; i < kCounters; ++i) drop(i);
}

bool PerfCounters::any() const noexcept {
  for (const int fd : fds_)
    if (fd != -1) return true;
  return false;
}

CounterValues PerfCounters::read() const { return {read_one(0), read_one(1), read_one(2), read_one(3)}; }

std::optional<double> PerfCounters::read_one(size_t counter) const {
  struct {
    uint64_t count, enabled_ns, running_ns;  // summed over the threads
  } value{};
  if (fds_[counter] == -1 || ::read(fds_[counter], &value, sizeof value) != sizeof value || value.running_ns == 0)
    return std::nullopt;
  return static_cast<double>(value.count) * static_cast<double>(value.enabled_ns) /
         static_cast<double>(value.running_ns);
}

void PerfCounters::drop(size_t counter) {
  if (fds_[counter] != -1) ::close(std::exchange(fds_[counter], -1));
}

}  // namespace decant::profile
