// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

namespace decant::bench {

/// What memory delivers to plain reads, for comparison with what a token needs. Holds a buffer larger than any cache.
class ReadBandwidth {
 public:
  explicit ReadBandwidth(int n_threads);
  /// Reads the whole buffer once with all threads; bytes per second.
  double measure() const;

 private:
  int n_threads_;
  std::vector<unsigned long long> buffer_;
};

/// The middle of some figures.
double median(std::vector<double> values);

}  // namespace decant::bench
