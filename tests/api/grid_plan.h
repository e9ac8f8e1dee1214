// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "decant/dtype.h"
#include "decant/isa.h"

namespace decant::test {

/// What must not change a bit, and the two things that may: the types of the weights and of the cache.
enum Axis : int {
  kWeights,
  kCache,
  kThreads,
  kChunk,
  kBatch,
  kBlock,
  kPrefix,
  kFork,
  kRestore,
  kIsa,
  kAxisCount,
};

/// Who shares the steps of a run. mixed_lengths: five prompts of 3 to 251 tokens; mixed_phases: a prompt of 251 tokens
/// comes when two others generate already.
enum class Batch : int { one, two, five, sixteen, mixed_lengths, mixed_phases };

/// A point of the grid: the index of a value of each axis.
struct GridPoint {
  std::array<int, kAxisCount> at{};

  DType weights() const { return static_cast<DType>(at[kWeights]); }
  KvType cache() const { return static_cast<KvType>(at[kCache]); }
  int n_threads() const;
  int prefill_chunk() const;  ///< 0: all at once
  Batch batch() const { return static_cast<Batch>(at[kBatch]); }
  int block_tokens() const;
  bool prefix_hit() const { return at[kPrefix] == 1; }  ///< the first two thirds of each prompt are known already
  bool forked() const { return at[kFork] == 1; }        ///< amid the generation
  bool restored() const { return at[kRestore] == 1; }   ///< amid the generation, by another engine
  Isa isa() const;
  std::string name() const;
};

/// Values of an axis; of kIsa as many as this CPU has.
int axis_size(Axis axis);

/// Points in which each weight type has met each cache type and each value of every other axis.
inline constexpr int kGridRound = 15 * 6 * 6;

/// The first n points. The whole product has 486,000 for each ISA, too many to run. One round, the first kGridRound,
/// has every triple of a weight type, a cache type and a value of another axis, hence every pair of these; the rest of
/// each point is random, from a fixed seed, and happens to have every pair of values of any two axes (a test counts
/// them), but not every triple of others. Further rounds have other random points. Any first 15 · k points have each
/// weight type k times.
std::vector<GridPoint> grid_points(int n);

}  // namespace decant::test
