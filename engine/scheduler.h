// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "decant/cache.h"
#include "decant/engine.h"

#include "cache/kernels/attention_kernels.h"
#include "engine/sequence_text.h"
#include "engine/step_plan.h"

namespace decant {

/// Tokens by which the start of an endless text's window moves at a time: a chunk of attention, so that it doesn't
/// depend on block sizes.
inline constexpr int kSlideTokens = kernels::kChunkTokens;

/// One growing text.
struct Sequence {
  SequenceId id = 0;  ///< 0: the slot is free
  cache::SequenceIndex cache = 0;
  Request request;           ///< its prompt has moved into `ids`
  std::vector<int32_t> ids;  ///< prompt and generated, from position ids_begin on; never reallocated but by extend
  int ids_begin = 0;         ///< endless texts forget their oldest ids
  int n_computed = 0;        ///< tokens whose keys and values are in the cache
  int limit = 0;             ///< tokens at which it ends
  int slid_to = 0;           ///< the first slot after the sinks; 0: nothing is forgotten yet
  bool paused = false;       ///< ended, and kept
  bool answered = false;     ///< a token has come since it was submitted, extended or restored
  int64_t begin_ns = 0;      ///< when that was; steady_clock
  int64_t last_ns = 0;       ///< the same, or when the last token came
  int64_t served = 0;        ///< the last plan that had a chunk of its prompt
  PrefixHit prefix;
  Usage usage;
  SequenceText text;
  std::vector<TokenLogprob> top_logprobs;

  bool of_session = false;                            ///< a Session's: step() leaves it alone
  const std::atomic<bool>* session_cancel = nullptr;  ///< its session doesn't want the piece any more
  std::optional<Piece> waiting;  ///< a piece that its session hasn't taken yet; it isn't stepped until then

  bool endless() const { return request.recent_window > 0; }
  int n_tokens() const { return ids_begin + static_cast<int>(ids.size()); }
  int n_pending() const { return n_tokens() - n_computed; }
  /// Slots before it are forgotten.
  int first_slot() const { return slid_to > 0 ? slid_to - request.n_sinks : 0; }
  int n_kept() const { return n_computed - first_slot(); }
  /// Where the window of a query at pos starts, the sinks before it.
  int window_start(int pos) const {
    const int beyond = pos + 1 - request.recent_window;
    return !endless() || beyond < 0 ? 0 : beyond / kSlideTokens * kSlideTokens;
  }
  /// The last of the next tokens that share the window of the first.
  int n_same_window() const {
    const int start = window_start(n_computed);
    return endless() ? start + kSlideTokens + request.recent_window - 1 - n_computed : n_pending();
  }
};

/// Whose turn a step is.
struct StepScope {
  bool sessions = false;  ///< of sessions, or of those that were submitted
  SequenceId only = 0;    ///< > 0: of this one alone

  bool has(const Sequence& s) const {
    return s.id != 0 && !s.paused && !s.waiting && s.of_session == sessions && (only == 0 || only == s.id);
  }
};

/// Which sequences advance in a step, and by how many tokens. Decoding sequences come first, one token each, then
/// chunks of prompts: by priority, then those that were served longest ago, then in the order in which they were
/// submitted.
class Scheduler {
 public:
  /// step_target_ns: what a step of decoding sequences and a prompt may take together; 0: anything.
  Scheduler(int max_sequences, int max_step_tokens, int prefill_chunk, int max_logit_rows, int64_t step_target_ns);

  /// A free slot, or null.
  Sequence* free_slot() noexcept;
  Sequence* find(SequenceId id) noexcept;
  Sequence& slot(int index) noexcept { return sequences_[static_cast<size_t>(index)]; }
  int n_sequences() const noexcept;

  /// The next step's plan; empty if nobody is in the scope. Valid until the next call. Allocates nothing.
  StepPlan& plan(const StepScope& scope = {}) noexcept;

  /// Tells how long the step of a plan took.
  void note_step(const StepPlan& plan, int64_t elapsed_ns) noexcept;

  /// Takes the last entry out of the plan: the one that can wait best.
  static void drop_last(StepPlan& plan) noexcept;

 private:
  void append(int index, int n_tokens) noexcept;
  int tokens_in_time() const noexcept;

  std::vector<Sequence> sequences_;
  std::vector<int> order_;
  StepPlan plan_;
  int max_step_tokens_, prefill_chunk_, max_logit_rows_;
  int64_t step_target_ns_;
  int64_t ns_per_token_ = 0;  ///< of the last steps with a prompt; 0: none yet
  int64_t n_plans_ = 0;
};

}  // namespace decant
