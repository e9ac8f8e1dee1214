// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "decant/result.h"

#include "engine/lap_log.h"
#include "engine/ticks.h"

namespace decant {

/// Threads that this process may really use: the affinity mask, cut to the cgroup's cpu.max. At least 1.
int default_thread_count();

/// A fixed set of threads that run jobs together with their caller. A job is a number of pieces, which idle threads
/// take one by one: a thread that is late takes fewer. Threads wait for the next job by spinning for some microseconds,
/// then they sleep, so that a neighbour on a core costs its share and no more.
///
/// One job at a time, from one caller at a time. Pieces run with the default floating-point state.
class ThreadPool {
 public:
  /// n_threads ≥ 1, the caller's own included. pin: thread i runs on the affinity mask's CPU number i only; the
  /// caller's thread is left as it is. `io` if the system gives no thread, `invalid_argument` if it has fewer CPUs to
  /// pin to.
  static Result<std::unique_ptr<ThreadPool>> create(int n_threads, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Notes who works when, kept for the last `n_jobs` jobs that ran on several threads. Before the first job.
  void log_laps(int n_jobs) { laps_ = std::make_unique<LapLog>(n_threads(), n_jobs); }
  /// Null until log_laps().
  LapLog* laps() const noexcept { return laps_.get(); }
  /// The number of the last job that ran on several threads.
  uint32_t last_job() const noexcept { return job_.load(std::memory_order_relaxed); }

  /// Runs piece(i, thread) for every i in [0, n_pieces), thread in [0, n_threads()); returns when all are done.
  /// The caller is thread 0. `piece` must not throw.
  template <typename Piece>
  void for_each(int n_pieces, const Piece& piece) {
    run(n_pieces, &call_on<Piece>, const_cast<void*>(static_cast<const void*>(&piece)));
  }

 private:
  using CallPiece = void (*)(void* context, int piece, int thread);

  template <typename Piece>
  static void call_on(void* context, int piece, int thread) {
    (*static_cast<const Piece*>(context))(piece, thread);
  }

  ThreadPool() = default;
  void run(int n_pieces, CallPiece call, void* context);
  void work(uint32_t job, int thread);
  void worker(int thread);

  std::vector<std::thread> workers_;
  std::unique_ptr<LapLog> laps_;
  // The job at hand. A piece is claimed by a compare-and-swap of (job, next piece), so that a thread that wakes up late
  // can neither run a piece of a finished job nor take one from a job it hasn't seen.
  alignas(64) std::atomic<uint32_t> job_{0};
  std::atomic<bool> quit_{false};
  std::atomic<int> n_pieces_{0};
  std::atomic<CallPiece> call_{nullptr};
  std::atomic<void*> context_{nullptr};
  alignas(64) std::atomic<uint64_t> claim_{0};
  alignas(64) std::atomic<int> n_left_{0};
};

}  // namespace decant
