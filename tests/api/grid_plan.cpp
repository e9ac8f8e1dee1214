// SPDX-License-Identifier: Apache-2.0
#include "tests/api/grid_plan.h"

#include <random>
#include <utility>

namespace decant::test {
namespace {

constexpr int kThreadCounts[] = {1, 2, 3, 4, 7};
constexpr int kChunks[] = {1, 3, 16, 64, 0};
constexpr int kBlocks[] = {16, 32, 256};
constexpr const char* kBatches[] = {"1", "2", "5", "16", "mixed lengths", "mixed phases"};
constexpr int kRows = 6;  // points of a cell in a round: as many as the longest of the other axes has values

static_assert(kGridRound == kDTypeCount * kKvTypeCount * kRows);

/// A weight type and a cache type: kRows points, in which each value of the other axes comes once at least.
std::array<GridPoint, kRows> cell_points(int weights, int cache, std::mt19937& random) {
  std::array<GridPoint, kRows> points;
  for (GridPoint& point : points) point.at[kWeights] = weights, point.at[kCache] = cache;
  for (int axis = kThreads; axis < kAxisCount; ++axis) {
    const int size = axis_size(static_cast<Axis>(axis));
    std::array<int, kRows> column{};
    for (int i = 0; i < kRows; ++i)  // the standard library's distributions and shuffle differ from one to another
      column[static_cast<size_t>(i)] = i < size ? i : static_cast<int>(random() % static_cast<unsigned>(size));
    for (unsigned i = kRows - 1; i > 0; --i) std::swap(column[i], column[random() % (i + 1)]);
    for (size_t i = 0; i < kRows; ++i) points[i].at[static_cast<size_t>(axis)] = column[i];
  }
  return points;
}

}  // namespace

int axis_size(Axis axis) {
  switch (axis) {
    case kWeights:
      return kDTypeCount;
    case kCache:
      return kKvTypeCount;
    case kThreads:
      return std::size(kThreadCounts);
    case kChunk:
      return std::size(kChunks);
    case kBatch:
      return std::size(kBatches);
    case kBlock:
      return std::size(kBlocks);
    case kIsa:
      return static_cast<int>(available_isas().size());
    default:
      return 2;
  }
}

int GridPoint::n_threads() const { return kThreadCounts[at[kThreads]]; }
int GridPoint::prefill_chunk() const { return kChunks[at[kChunk]]; }
int GridPoint::block_tokens() const { return kBlocks[at[kBlock]]; }
Isa GridPoint::isa() const { return available_isas()[static_cast<size_t>(at[kIsa])]; }

std::string GridPoint::name() const {
  std::string text = std::string(to_string(weights())) + " weights, " + to_string(cache()) + " cache, " +
                     std::to_string(n_threads()) + " threads, ";
  text += prefill_chunk() == 0 ? "prompts at once" : "chunks of " + std::to_string(prefill_chunk());
  text += std::string(", batch ") + kBatches[at[kBatch]] + ", blocks of " + std::to_string(block_tokens());
  if (prefix_hit()) text += ", known prefixes";
  if (forked()) text += ", forked";
  if (restored()) text += ", restored";
  return text + ", " + to_string(isa());
}

std::vector<GridPoint> grid_points(int n) {
  std::mt19937 random(4);
  std::vector<GridPoint> points;
  while (static_cast<int>(points.size()) < n)
    for (int shift = 0; shift < kKvTypeCount; ++shift) {
      std::vector<std::array<GridPoint, kRows>> cells;
      for (int weights = 0; weights < kDTypeCount; ++weights)
        cells.push_back(cell_points(weights, (weights + shift) % kKvTypeCount, random));
      for (size_t row = 0; row < kRows; ++row)
        for (const auto& cell : cells) points.push_back(cell[row]);
    }
  points.resize(static_cast<size_t>(n));
  return points;
}

}  // namespace decant::test
