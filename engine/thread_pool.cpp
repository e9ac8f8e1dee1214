// SPDX-License-Identifier: Apache-2.0
#include "engine/thread_pool.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "engine/cgroup.h"

namespace decant {

namespace {

/// About 20 microseconds: longer than the serial work between two products of a token, shorter than a time slice.
constexpr int kSpins = 1000;

constexpr uint64_t kNoPiece = 0xFFFFFFFFU;

/// Waits until `value` differs from `old`: spins, then sleeps.
template <typename T>
void wait_for_change(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    _mm_pause();
  }
  value.wait(old, std::memory_order_acquire);
}

/// CPUs of quota that a cgroup v2 folder allows, 0 for no limit.
double cgroup_cpus(const std::string& folder) {
  std::ifstream file(folder + "cpu.max");
  std::string quota;
  double period = 0.0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0.0) return 0.0;
  char* end = nullptr;
  const double microseconds = std::strtod(quota.c_str(), &end);
  return end != quota.c_str() ? microseconds / period : 0.0;
}

/// CPUs of the affinity mask, ascending; none if the system won't say.
std::vector<int> affinity_cpus() {
  std::vector<int> cpus;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<size_t>(cpu), &mask)) cpus.push_back(cpu);
  return cpus;
}

}  // namespace

int default_thread_count() {
  int n = static_cast<int>(affinity_cpus().size());
  if (n == 0) n = static_cast<int>(std::thread::hardware_concurrency());
  n = std::max(n, 1);

  for (const std::string& folder : own_cgroups()) {
    const double cpus = cgroup_cpus(folder);
    if (cpus > 0.0) n = std::clamp(static_cast<int>(cpus), 1, n);
  }
  return n;
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(int n_threads, bool pin) {
  const std::vector<int> cpus = pin ? affinity_cpus() : std::vector<int>();
  if (pin && cpus.size() < static_cast<size_t>(n_threads))
    return Error{ErrorCode::invalid_argument,
                 detail::format("{} threads can't be pinned to {} CPUs", n_threads, cpus.size())};
  std::unique_ptr<ThreadPool> pool(new ThreadPool());
  pool->workers_.reserve(static_cast<size_t>(n_threads - 1));
  try {
    for (int i = 1; i < n_threads; ++i) pool->workers_.emplace_back([p = pool.get(), i] { p->worker(i); });
  } catch (const std::system_error& error) {
    return Error{ErrorCode::io, detail::format("the system gives no more threads after {} of {}: {}", pool->n_threads(),
                                               n_threads, error.what())};
  }
  for (size_t i = 0; pin && i < pool->workers_.size(); ++i) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(static_cast<size_t>(cpus[i + 1]), &mask);
    if (pthread_setaffinity_np(pool->workers_[i].native_handle(), sizeof(mask), &mask) != 0)
      return Error{ErrorCode::io, detail::format("the system won't tie a thread to CPU {}", cpus[i + 1])};
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  quit_.store(true, std::memory_order_relaxed);
  job_.fetch_add(1, std::memory_order_release);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int n_pieces, CallPiece call, void* context) {
  if (n_pieces <= 0) return;
  if (workers_.empty() || n_pieces == 1) {
    const detail::FpState fp_state;
    for (int i = 0; i < n_pieces; ++i) call(context, i, 0);
    return;
  }
  if (laps_ && laps_->waits()) laps_->end_wait(ticks());
  const uint32_t job = job_.load(std::memory_order_relaxed) + 1;
  // First no piece can be claimed, then the job changes, then it opens: whoever reads a part of the new job fails to
  // claim a piece of the old one.
  claim_.store((static_cast<uint64_t>(job) << 32) | kNoPiece, std::memory_order_release);
  call_.store(call, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  n_pieces_.store(n_pieces, std::memory_order_release);
  n_left_.store(n_pieces, std::memory_order_release);
  claim_.store(static_cast<uint64_t>(job) << 32, std::memory_order_release);
  job_.store(job, std::memory_order_release);
  job_.notify_all();

  work(job, 0);
  if (n_left_.load(std::memory_order_acquire) == 0) return;
  if (laps_) laps_->begin_wait(ticks());
  for (int left = n_left_.load(std::memory_order_acquire); left != 0; left = n_left_.load(std::memory_order_acquire))
    wait_for_change(n_left_, left);
}

void ThreadPool::work(uint32_t job, int thread) {
  const detail::FpState fp_state;
  uint64_t begin = 0;
  if (laps_ && thread > 0) {
    laps_->expect(thread, job);
    begin = ticks();
  }
  int n_done = 0;
  uint64_t claim = claim_.load(std::memory_order_acquire);
  for (;;) {
    const CallPiece call = call_.load(std::memory_order_acquire);
    void* const context = context_.load(std::memory_order_acquire);
    const uint32_t n_pieces = static_cast<uint32_t>(n_pieces_.load(std::memory_order_acquire));
    const uint32_t piece = static_cast<uint32_t>(claim & kNoPiece);
    if (static_cast<uint32_t>(claim >> 32) != job || piece >= n_pieces) break;
    if (!claim_.compare_exchange_weak(claim, claim + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    call(context, static_cast<int>(piece), thread);
    ++n_done;
    if (n_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) n_left_.notify_all();
    claim = claim_.load(std::memory_order_acquire);
  }
  if (!laps_) return;
  if (thread == 0) return laps_->note_own(n_done);
  if (n_done > 0) laps_->note(thread, job, {begin, ticks(), n_done});
  if (laps_->events_wanted()) laps_->note_events(thread);
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_change(job_, seen);
    seen = job_.load(std::memory_order_acquire);
    if (quit_.load(std::memory_order_relaxed)) return;
    work(seen, thread);
  }
}

}  // namespace decant
