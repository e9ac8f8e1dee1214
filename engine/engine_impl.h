// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "decant/cache.h"
#include "decant/detail/log.h"
#include "decant/engine.h"

#include "engine/forward.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler.h"
#include "engine/step_recorder.h"
#include "engine/thread_pool.h"
#include "engine/turnstile.h"

namespace decant {

/// f(), where memory that runs out is an error: its text is short enough to need none.
template <typename F>
auto guarded(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "out of memory"};
  }
}

struct Engine::Impl {
  /// Held by whoever calls in; every function below expects it.
  Turnstile turnstile;
  std::atomic<SequenceId> to_cancel{0};  ///< set by cancel() while it waits to come in
  std::shared_ptr<const Model> model;
  EngineOptions options;  ///< every 0 that means "choose" already replaced
  Isa isa = Isa::reference;
  detail::Log log;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<cache::KvCache> cache;
  std::unique_ptr<Forward> forward;
  std::unique_ptr<sampler::Sampler> sampler;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<StepRecorder> recorder;  ///< null: nobody wants to know where the time goes
  SequenceId next_id = 1;
  bool has_windows = false;        ///< some layer's blocks are given back as a sequence grows
  bool learned_positions = false;  ///< tokens can't be moved

  // A step's results, sized at creation.
  std::vector<cache::KvGrowth> growths;
  std::vector<sampler::Pick> picks;
  /// Of a sequence that is gone.
  struct LastWords {
    SequenceText text;
    std::vector<TokenLogprob> top_logprobs;
  };
  /// What a step hands out. A host may still look at its own while sessions compute.
  struct Output {
    std::vector<Piece> pieces;
    std::vector<LogitRows> logit_rows;
    std::vector<LastWords> last_words;  ///< what the pieces of those that are gone point to
  };
  Output submitted_output, session_output;
  Output* output = &submitted_output;  ///< the current step's

  Result<StepReport> step(const StepScope& scope, const std::stop_token& stop);
  Result<Admission> admit(Request&& request) const;
  Result<SequenceId> submit(Request&& request);
  Status cancel(SequenceId id);
  /// Ends a sequence: its blocks are free, or become known to others.
  void end(Sequence& sequence);
  Result<SequenceId> fork(SequenceId id, const SamplingParams& sampling);
  Status truncate(SequenceId id, int n_tokens);
  Status remove(SequenceId id, int first, int n);
  Status extend(SequenceId id, std::span<const int32_t> ids, const GenerationOptions* options, int max_new_tokens);
  Status set_sampling(SequenceId id, const SamplingParams& sampling);
  Result<SequenceInfo> info(SequenceId id) const;
  Status save(SequenceId id, const std::string& path);
  Result<SequenceId> restore(const std::string& path);
  cache::SnapshotIdentity identity() const;

  Result<Sequence*> find(SequenceId id) const;
  /// The ids of a text, with the model's own begin tokens if it is the first.
  Result<std::vector<int32_t>> encode(std::string_view text, bool first) const;
  /// A generation ends between two tokens: what was computed of it becomes known to others.
  void pause(Sequence& sequence);
  /// `invalid_argument` for one that isn't alive, or a session's: those are its alone to change.
  Status check_submitted(SequenceId id) const;
  /// cancelled if it was told to stop, deadline if it is late, none otherwise.
  FinishReason over(const Sequence& sequence) const noexcept;
  MemoryStats memory() const noexcept;

 private:
  class PlanStop;
  Status encode_prompt(Request& request) const;
  Status check_ids(std::span<const int32_t> ids) const;
  Status check_options(const GenerationOptions& options, bool detokenize) const;
  Status check_window(const Request& request) const;
  Status check_request(const Request& request) const;
  int growth_left(const Sequence& sequence) const;
  int most_growth(const Request& request, int n_tokens, int limit, int n_computed, int n_kept) const;
  /// extended: the one that goes on; null for one more.
  Result<Admission> admission(const Request& request, const Sequence* extended, int growth) const;
  /// n_slots: that it has at most, all in all.
  Status take_in(const Request& request, const Sequence* extended, int growth, int n_slots) const;
  /// What the next generation of a sequence takes memory for.
  struct Generation {
    SequenceText text;
    std::vector<TokenLogprob> top_logprobs;
  };
  Generation prepare(const GenerationOptions& wanted, bool detokenize, int n_before) const;
  static void begin(Sequence& sequence, Generation&& generation, int n_prompt) noexcept;
  bool end_those_over(const StepScope& scope);
  Status rewind(Sequence& sequence, int n_tokens);
  void publish(const Sequence& sequence);
  void publish_all();
  Status slide(const StepScope& scope);
  Result<cache::KvReservation> reserve(StepPlan& plan);
  Status pick(const StepPlan& plan, const LogitsView& logits);
  bool is_to_cancel(const Sequence& sequence) const noexcept {
    return !sequence.of_session && sequence.id == to_cancel.load();
  }
  bool is_end(int32_t token_id) const noexcept;
  FinishReason finish_after(const Sequence& sequence, int32_t token_id) const;
  void settle(const StepPlan& plan, const LogitsView& logits);
  void advance(Sequence& sequence, const sampler::Pick& pick);
  void add_piece(Sequence& sequence, int32_t token_id, float logprob, FinishReason finish);
  void now(Op op) noexcept {
    if (recorder) recorder->begin(op);
  }
};

/// The same, when its turn has come.
template <typename F>
auto entered(Engine::Impl& impl, F f) -> decltype(f()) {
  const std::lock_guard turn(impl.turnstile);
  return guarded(f);
}

/// The same for a host's call about a sequence that it submitted.
template <typename F>
auto entered_for(Engine::Impl& impl, SequenceId id, F f) -> decltype(f()) {
  return entered(impl, [&]() -> decltype(f()) {
    if (Status submitted = impl.check_submitted(id); !submitted) return submitted.error();
    return f();
  });
}

}  // namespace decant
