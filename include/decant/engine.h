// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "decant/model.h"
#include "decant/options.h"
#include "decant/result.h"
#include "decant/stats.h"

namespace decant {

using SequenceId = int64_t;

/// A prompt and how to go on from it.
struct Request {
  std::vector<int32_t> prompt;  ///< at least one id, each within the vocabulary; at most n_ctx
  SamplingParams sampling;
  /// Tokens to generate at most, the end id included; 0 computes the prompt only. Negative: until the context is full.
  int max_new_tokens = -1;
  /// Goes on past the model's end ids.
  bool ignore_end = false;
  /// Reports the logits of every position, not only those that are sampled. Needs EngineOptions::max_logit_rows ≥ the
  /// chunk. No known prefix is taken then.
  bool all_logits = false;
  /// Keeps the sequence when it has ended: it waits for extend(), save(), fork(), or cancel().
  bool keep = false;

  /// Takes the longest known beginning of the prompt from other sequences, and lets others take from this one. Never
  /// changes a bit of the output.
  bool share_prefix = true;
  std::string prefix_salt;  ///< sequences share only with those of the same salt
  int prefix_priority = 0;  ///< 0 to 100: of what nobody uses, the lower makes way first

  /// > 0: the text may go on without end. Each token attends to the first n_sinks tokens and to the last recent_window,
  /// or up to 127 more; the rest is forgotten, in whole chunks of 128, and memory stays as it is. The sinks stand right
  /// before the window then. n_sinks + recent_window + 128 ≤ n_ctx. Penalties look at the last n_ctx tokens. Xiao et
  /// al. 2023 (arXiv:2309.17453). `unsupported` for a model with learned positions.
  int recent_window = 0;
  int n_sinks = 4;  ///< 1 to 64
};

enum class FinishReason : int32_t {
  none,    ///< goes on
  stop,    ///< an end id
  length,  ///< max_new_tokens, or the context is full
  cancelled,
  error,
};
const char* to_string(FinishReason reason) noexcept;

/// One sampled token.
struct TokenEvent {
  SequenceId sequence = 0;
  int32_t token_id = -1;  ///< -1: the sequence ended without a further token
  float logprob = 0.0F;   ///< log softmax of the raw logits at token_id, before penalties and temperature
  FinishReason finish = FinishReason::none;  ///< other than none: the last event of the sequence; it is released
};

/// What is known of a sequence that is alive.
struct SequenceInfo {
  int n_tokens = 0;     ///< prompt and generated, forgotten ones included
  int n_computed = 0;   ///< of these: with keys and values in the cache
  bool paused = false;  ///< has ended, and was kept
  PrefixHit prefix;     ///< what submit() found
  SamplingParams sampling;
  std::span<const int32_t> ids;  ///< the last of its tokens, all unless it is endless; valid until the next call
};

/// Logits of consecutive positions of one sequence.
struct LogitRows {
  SequenceId sequence = 0;
  int first_pos = 0;
  int n_rows = 0;
  const float* logits = nullptr;  ///< [n_rows, vocab_size], rows `row_stride` floats apart
  size_t row_stride = 0;
};

/// What one step did. Spans are valid until the next call of the engine.
struct StepReport {
  std::span<const TokenEvent> tokens;
  std::span<const LogitRows> logits;
  StepStats stats;
  bool idle = false;  ///< no sequence is alive, or all are paused: nothing was done
};

/// Decodes many sequences over one model. Calls on one engine come from one thread at a time; engines don't know each
/// other. Its memory is taken in create(), submit() and extend(); step() takes none, except that the cache may grow by
/// a slab, that what a sequence leaves behind becomes a known prefix, and that a model with windows notes such as it
/// goes.
class Engine {
 public:
  /// Errors: `invalid_argument` (an option outside its limits, by name), `unsupported` (isa), `out_of_memory`, `io` (no
  /// threads).
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, const EngineOptions& options = {});

  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Takes a sequence into the next steps; info() says how much of its prompt was known already. Errors:
  /// `invalid_argument` (empty prompt, id outside the vocabulary, prompt longer than n_ctx, parameter outside its
  /// limits), `cache_full` (max_sequences are alive), `out_of_memory`.
  Result<SequenceId> submit(Request request);

  /// Advances every sequence that can: one decode token each, the rest of the step's room for chunks of prompts.
  ///
  /// A transaction: on any error (`cancelled` by `stop`, looked at between layers; `non_finite`, naming the layer;
  /// `cache_full`; `out_of_memory`) nothing visible has changed and the same step may be tried again.
  Result<StepReport> step(const std::stop_token& stop = {});

  /// A new sequence with the same tokens, which goes on by itself: memory is shared until they part. A paused one's is
  /// paused. `cache_full` (max_sequences are alive), `invalid_argument` (not alive, sampling).
  Result<SequenceId> fork(SequenceId sequence, const SamplingParams& sampling);

  /// Cuts a sequence to its first n_tokens ≥ 1 tokens; it goes on from there, or waits if it is paused. What a window
  /// has given back is computed again in the next steps. `invalid_argument` for another n_tokens, or one before what an
  /// endless text still knows.
  Status truncate(SequenceId sequence, int n_tokens);

  /// Takes tokens [first, first + n) out of what has been computed and closes the gap: later keys are rotated to their
  /// new positions. An approximation, since later tokens have seen those that go; see cache::KvCache::remove().
  /// `invalid_argument` for another range, an endless text, or where a window would lack something; `unsupported` for a
  /// model with learned positions; `cache_full`, `out_of_memory`, `non_finite` as there.
  Status remove(SequenceId sequence, int first, int n);

  /// Adds tokens, none or more, to a paused sequence and lets it go on for max_new_tokens more (negative: until the
  /// context is full). Errors as submit().
  Status extend(SequenceId sequence, std::span<const int32_t> ids, int max_new_tokens);

  /// How its next tokens are chosen. `invalid_argument` (not alive, sampling).
  Status set_sampling(SequenceId sequence, const SamplingParams& sampling);

  /// `invalid_argument` for a sequence that isn't alive.
  Result<SequenceInfo> info(SequenceId sequence) const;

  /// Saves a sequence with its cache, its sampling and its ids: restored, it goes on to the same tokens, bit for bit.
  /// The file is complete or, on an error, as it was. Errors: as cache::KvCache::save().
  Status save(SequenceId sequence, const std::string& path);
  /// Adds a sequence from a file, paused: extend() lets it go on. Errors: as cache::KvCache::restore(), `mismatch`
  /// where it was made with other weights, numerics or cache options; `invalid_argument` if it is longer than n_ctx.
  Result<SequenceId> restore(const std::string& path);

  /// The same for all known prefixes. restore_prefixes() returns how many tokens are known by it.
  Status save_prefixes(const std::string& path) const;
  Result<int64_t> restore_prefixes(const std::string& path);
  /// Forgets all known prefixes, or those of a salt. What sequences use stays theirs.
  void forget_prefixes() noexcept;
  void forget_prefixes(std::string_view salt) noexcept;

  /// Bytes of cache that a sequence of n_tokens takes, before any work.
  size_t cache_bytes_needed(int n_tokens) const noexcept;

  /// Ends a sequence and gives its cache back. `invalid_argument` for one that isn't alive.
  Status cancel(SequenceId sequence);

  /// Sequences alive, paused ones included.
  int n_sequences() const noexcept;

  const Model& model() const noexcept;
  /// Longest sequence in tokens, threads and kernel table in force.
  int n_ctx() const noexcept;
  int n_threads() const noexcept;
  const char* isa() const noexcept;
  CacheStats cache_stats() const noexcept;
  MemoryStats memory_stats() const noexcept;

  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);  ///< for create()
  Impl& impl() noexcept;                        ///< for decant's own tests

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace decant
