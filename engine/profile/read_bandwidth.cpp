// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>

#include "decant/isa.h"

#include "engine/profile/machine.h"

namespace decant::profile {
namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;  // long enough for prefetchers, short enough to share out evenly
constexpr size_t kMostBytes = size_t{512} << 20;
constexpr int kRankPasses = 2, kPasses = 3;
constexpr size_t kWaysKept = 2;

std::vector<ReadWay> possible_ways() {
  std::vector<ReadWay> ways;
  const auto add = [&](std::span<const ReadWay> more) { ways.insert(ways.end(), more.begin(), more.end()); };
  add(read_ways_plain());
  for (const Isa isa : available_isas()) {
    if (isa == Isa::avx2) add(read_ways_avx2());
    if (isa == Isa::avx512) add(read_ways_avx512());
  }
  return ways;
}

}  // namespace

Result<ReadBandwidth> ReadBandwidth::create() {
  const size_t available = available_memory_bytes();
  const size_t bytes = available > 0 ? std::min(kMostBytes, available / 4) : kMostBytes;
  const size_t pieces = std::max<size_t>(bytes / kPieceBytes, 1);
  cache::Mapping buffer = cache::Mapping::take(pieces * kPieceBytes, cache::Mapping::Fault::now);
  if (!buffer) return Error{ErrorCode::out_of_memory, "no memory to measure read bandwidth with"};
  return ReadBandwidth(std::move(buffer));
}

double ReadBandwidth::pass(ThreadPool& pool, ReadWay way) const {
  std::atomic<uint64_t> sum{0};
  const auto start = std::chrono::steady_clock::now();
  pool.for_each(static_cast<int>(buffer_.size_bytes() / kPieceBytes), [&](int piece, int) {
    sum.fetch_add(way(buffer_.data() + static_cast<size_t>(piece) * kPieceBytes, kPieceBytes),
                  std::memory_order_relaxed);
  });
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return static_cast<double>(buffer_.size_bytes()) / elapsed.count();
}

void ReadBandwidth::rank(ThreadPool& pool) {
  best_.clear();
  for (const ReadWay way : possible_ways()) best_.push_back({way, 0.0});
  for (int i = 0; i < kRankPasses; ++i)
    for (Tried& tried : best_) tried.bytes_per_s = std::max(tried.bytes_per_s, pass(pool, tried.way));
  std::sort(best_.begin(), best_.end(), [](const Tried& a, const Tried& b) { return a.bytes_per_s > b.bytes_per_s; });
  best_.resize(std::min(best_.size(), kWaysKept));
  n_threads_ = pool.n_threads();
}

double ReadBandwidth::measure(ThreadPool& pool) {
  if (n_threads_ != pool.n_threads()) rank(pool);
  double best = 0.0;
  for (int i = 0; i < kPasses; ++i)
    for (const Tried& tried : best_) best = std::max(best, pass(pool, tried.way));
  return best;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0.0;
  const auto at = static_cast<size_t>(std::lround(std::floor(q * static_cast<double>(values.size()))));
  const size_t index = std::min(at, values.size() - 1);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(index), values.end());
  return values[index];
}

}  // namespace decant::profile
