// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "decant/cache.h"

#include "tests/cache/schedule_model.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

/// How often something came about: a schedule that never meets a limit shows little.
struct ScheduleCounts {
  int64_t n_steps = 0;
  int64_t n_full = 0;        ///< cache_full
  int64_t n_shifts = 0;      ///< remove() that moved something
  int64_t n_slides = 0;      ///< slide()
  int64_t n_hit_tokens = 0;  ///< adopt_prefix()
  int64_t n_recompute = 0;   ///< truncate() to nothing, since a window lacked something
  int64_t n_files = 0;       ///< restored
  int64_t n_evicted = 0;     ///< blocks
  void add(const ScheduleCounts& other);
};

/// A cache of a shape, types and bounds that its seed chooses, a plain model of each sequence, and random operations
/// that keep both in step. Every step checks invariants, sums and contents; a failed call must have changed nothing.
class Schedule {
 public:
  explicit Schedule(uint32_t seed);

  void step();
  /// Releases everything; nothing may be left.
  ScheduleCounts finish();
  /// The cache in words, for a failure's report.
  std::string describe() const;

 private:
  using Sequences = std::map<cache::SequenceIndex, ModelSequence>;

  int below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }
  bool one_in(int n) { return below(n) == 0; }
  Sequences::value_type& pick();
  Sequences::value_type& pick_long();
  int32_t next_id(const ModelSequence& model, int pos);

  void run_one();
  void add();
  void keep_sinks(Sequences::value_type& sequence);
  void adopt(Sequences::value_type& sequence);
  void release();
  void fork();
  void grow();
  void write(cache::SequenceIndex s, const ModelSequence& model, int first);
  void meddle(cache::SequenceIndex s);
  void check_growth_is_refused_rightly(const std::vector<cache::KvGrowth>& growths);
  void truncate();
  void remove();
  void slide();
  void publish();
  void forget();
  void save_and_restore();
  void save_and_restore_prefixes();
  void ask_for_nonsense();

  /// After an error: the code is one of these, and the cache is as it was.
  void check_refused(const Error& error, ErrorCode expected, const CacheStats& before);
  void check_step();
  void check_contents(const Sequences::value_type& sequence);

  std::mt19937 random_;
  std::vector<cache::KvLayerShape> layers_;
  CacheOptions options_;
  Isa isa_ = Isa::reference;
  bool plain_ = false;  ///< no sharing and no windows: bytes are exact
  bool one_group_ = false;
  size_t enough_ = 0;  ///< bytes that all sequences may need
  std::unique_ptr<cache::KvCache> cache_;
  std::unique_ptr<RowMaker> maker_;
  Sequences sequences_;
  std::vector<cache::SequenceIndex> touched_;
  TempDir folder_;
  ScheduleCounts counts_;
};

}  // namespace decant::test
