// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decant/options.h"
#include "decant/profile.h"

#include "engine/model/model_parts.h"
#include "engine/step_plan.h"
#include "engine/thread_pool.h"

namespace decant {

/// Bytes of a token's keys and values in a layer, as the cache stores them.
size_t kv_bytes_of_token(const cache::KvCache& cache, cache::SequenceIndex sequence, const model::LayerConfig& config,
                         int layer);
/// Tokens before `first_pos` that the query there attends to: those from `first_slot` on, or of the layer's window.
int tokens_before(const model::LayerConfig& config, int first_pos, int first_slot);

/// Takes down where the time of a step goes, and tells the observer. Sized when it is made: a step allocates nothing.
class StepRecorder {
 public:
  StepRecorder(StepObserver observer, const Model::Parts& model, ThreadPool& pool, int max_sequences);

  /// A step begins, with Op::schedule. What a step before it left unfinished is forgotten.
  void begin_step() noexcept;
  /// From here on it is `op`.
  void begin(Op op, int layer = -1) noexcept {
    if (op == Op::head) pool_.laps()->want_events(true);  // the last that all threads take part in
    add_mark(ticks(), op, layer);
  }
  void add_token(const TokenTiming& timing) noexcept { tokens_.push_back(timing); }
  /// What the step computes, while its sequences are there.
  void note_plan(const StepPlan& plan, const cache::KvCache& cache);
  /// The step is over: tells the observer. Its tokens may be added up to here.
  void finish(const StepPlan& plan);

 private:
  /// The beginning of an operation.
  struct Mark {
    uint64_t at = 0;
    LapLog::Own own;   ///< of the calling thread, so far
    uint32_t job = 0;  ///< the last before it
    Op op = Op::schedule;
    int layer = -1;
  };
  /// The same moment on both clocks.
  struct Moment {
    uint64_t ticks = 0;
    int64_t ns = 0;
  };
  void add_mark(uint64_t at, Op op, int layer) noexcept {
    pool_.laps()->end_wait(at);
    marks_[n_marks_++] = {at, pool_.laps()->own(), pool_.last_job(), op, layer};
  }
  static Moment now() noexcept;
  ThreadEvents events() const noexcept;
  size_t bytes(Op op, int layer, const StepPlan& plan) const;
  void add_own_laps();
  void add_laps_of(int thread, double ns_per_tick);

  StepObserver observer_;
  const Model::Parts& model_;
  ThreadPool& pool_;
  std::vector<size_t> kv_bytes_;  ///< of a token in each layer; known once there is a sequence
  Moment begin_;
  ThreadEvents events_;
  std::vector<Mark> marks_;
  size_t n_marks_ = 0;
  std::vector<OpProfile> ops_;
  std::vector<LapProfile> laps_;  ///< thread after thread
  std::vector<ThreadProfile> threads_;
  std::vector<TokenTiming> tokens_;
};

}  // namespace decant
