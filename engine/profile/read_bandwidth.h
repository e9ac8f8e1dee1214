// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "decant/result.h"

#include "cache/mapping.h"
#include "engine/profile/read_ways.h"
#include "engine/thread_pool.h"

namespace decant::profile {

/// What memory delivers to threads that do nothing but read: the line that decoding is held against. One thread at a
/// time.
class ReadBandwidth {
 public:
  /// Takes a buffer larger than any cache, in huge pages where the system gives them: 512 MiB, or a quarter of the
  /// memory where that is less. `out_of_memory`.
  static Result<ReadBandwidth> create();

  /// Bytes per second with all threads of the pool: the best of several ways to read and of several passes. Some 0.1
  /// seconds; the first time with a pool of another size, to find the best ways, 0.5.
  double measure(ThreadPool& pool);

  /// Of the buffer.
  size_t size_bytes() const noexcept { return buffer_.size_bytes(); }

 private:
  struct Tried {
    ReadWay way;
    double bytes_per_s;
  };

  explicit ReadBandwidth(cache::Mapping buffer) : buffer_(std::move(buffer)) {}
  double pass(ThreadPool& pool, ReadWay way) const;
  void rank(ThreadPool& pool);

  cache::Mapping buffer_;
  std::vector<Tried> best_;  ///< for pools of n_threads_, the fastest first
  int n_threads_ = 0;
};

/// The value below which a share q of them lies, 0 ≤ q ≤ 1; 0 for none. The middle one for q = 0.5.
double quantile(std::vector<double> values, double q);

}  // namespace decant::profile
