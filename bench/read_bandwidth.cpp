// SPDX-License-Identifier: Apache-2.0
#include "bench/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace decant::bench {

namespace {

constexpr size_t kBufferBytes = size_t{512} << 20;
constexpr size_t kStreams = 4;

}  // namespace

ReadBandwidth::ReadBandwidth(int n_threads) : n_threads_(n_threads), buffer_(kBufferBytes / sizeof(buffer_[0]), 1) {}

double ReadBandwidth::measure() const {
  std::atomic<unsigned long long> sink{0};
  const size_t share = buffer_.size() / static_cast<size_t>(n_threads_);
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads_; ++t)
    threads.emplace_back([&, t] {
      // Four streams, which keep more of the hardware's prefetchers busy than one; sixteen sums in each, so that
      // additions don't wait for each other.
      const size_t part = share / kStreams;
      unsigned long long sums[16] = {};
      const unsigned long long* const from = buffer_.data() + static_cast<size_t>(t) * share;
      for (size_t i = 0; i + 16 <= part; i += 16)
        for (size_t stream = 0; stream < kStreams; ++stream)
          for (size_t lane = 0; lane < 16; ++lane) sums[lane] += from[stream * part + i + lane];
      for (const unsigned long long sum : sums) sink.fetch_add(sum);
    });
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return static_cast<double>(share * sizeof(buffer_[0]) * static_cast<size_t>(n_threads_)) / seconds;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

}  // namespace decant::bench
