// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "decant/engine.h"

#include "cache/kv_cache.h"
#include "engine/step_plan.h"

namespace decant {

/// One growing text.
struct Sequence {
  SequenceId id = 0;  ///< 0: the slot is free
  cache::SequenceIndex cache = 0;
  Request request;           ///< its prompt has moved into `ids`
  std::vector<int32_t> ids;  ///< prompt and generated; never reallocated after submit
  int n_prompt = 0;
  int n_computed = 0;  ///< of ids: those whose keys and values are in the cache

  int n_generated() const { return static_cast<int>(ids.size()) - n_prompt; }
  int n_pending() const { return static_cast<int>(ids.size()) - n_computed; }
};

/// Which sequences advance in a step, and by how many tokens. Decoding sequences come first, one token each, then
/// chunks of prompts, in the order in which they were submitted.
class Scheduler {
 public:
  Scheduler(int max_sequences, int max_step_tokens, int prefill_chunk, int max_logit_rows);

  /// A free slot, or null.
  Sequence* free_slot() noexcept;
  Sequence* find(SequenceId id) noexcept;
  Sequence& slot(int index) noexcept { return sequences_[static_cast<size_t>(index)]; }
  int n_sequences() const noexcept;

  /// The next step's plan; empty if no sequence is alive. Valid until the next call. Allocates nothing.
  StepPlan& plan() noexcept;

  /// Takes the last entry out of the plan: the one that can wait best.
  static void drop_last(StepPlan& plan) noexcept;

 private:
  void append(int index, int n_tokens) noexcept;

  std::vector<Sequence> sequences_;
  std::vector<int> order_;
  StepPlan plan_;
  int max_step_tokens_, prefill_chunk_, max_logit_rows_;
};

}  // namespace decant
