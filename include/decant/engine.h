// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "decant/export.h"
#include "decant/generation.h"
#include "decant/model.h"
#include "decant/options.h"
#include "decant/result.h"
#include "decant/session.h"
#include "decant/stats.h"

namespace decant {

/// What a sequence is for as long as it lives.
struct SequenceOptions {
  /// Takes the longest known beginning of the prompt from other sequences, and lets others take from this one. Never
  /// changes a bit of the output.
  bool share_prefix = true;
  std::string prefix_salt{};  ///< sequences share only with those of the same salt
  int prefix_priority = 0;    ///< 0 to 100: of what nobody uses, the lower makes way first

  /// > 0: the text may go on without end. Each token attends to the first n_sinks tokens and to the last recent_window,
  /// or up to 127 more; the rest is forgotten, in whole chunks of 128, and memory stays as it is. The sinks stand right
  /// before the window then. n_sinks + recent_window + 128 ≤ n_ctx. Penalties look at the last n_ctx tokens. Xiao et
  /// al. 2023 (arXiv:2309.17453). `unsupported` for a model with learned positions.
  int recent_window = 0;
  int n_sinks = 4;  ///< 1 to 64
};

/// A prompt and how to go on from it.
struct Request : SequenceOptions, GenerationOptions {
  std::vector<int32_t> prompt;  ///< each id within the vocabulary; at most n_ctx
  std::string prompt_text{};    ///< where `prompt` is empty: encoded with the model's own begin tokens
  /// Reports the logits of every position, not only those that are sampled. Needs EngineOptions::max_logit_rows ≥ the
  /// chunk. No known prefix is taken then.
  bool all_logits = false;
  /// Keeps the sequence when it has ended: it waits for extend(), save(), fork(), or cancel().
  bool keep = false;
  /// Pieces have bytes and text. Off, there are no stop strings either, and a step takes no memory for text.
  bool detokenize = true;
};

/// What admit() found: what a request may take at most, beside what there is for it.
struct Admission {
  size_t needed_bytes = 0;     ///< of cache, for the prompt and every token that it may generate
  size_t available_bytes = 0;  ///< that are free, or make way, once all that lives has what it may take
  bool fits = true;
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

/// What one step did. Spans are valid until the next call of step(), and until their sequence is changed; logits until
/// anybody computes: where sessions do so on other threads, they can't be read.
struct StepReport {
  std::span<const Piece> pieces;
  std::span<const LogitRows> logits;
  StepStats stats;
  bool idle = false;  ///< no sequence is alive, or all are paused: nothing was done
};

/// Decodes many sequences over one model. Engines don't know each other.
///
/// Two ways in. session() gives a text to whoever wants one, from any thread. submit(), step() and cancel() are for a
/// host with a loop of its own: step() advances what was submitted, and leaves the sessions to their own threads. Calls
/// about a sequence are for those that were submitted: a session's, whose id its pieces tell, is `invalid_argument`,
/// but for info().
///
/// Calls may come from any thread, and wait for one another in the order in which they came; a step is one call. What
/// step() returns is the one thread's that calls it. Memory is taken in open(), submit() and extend(); step() takes
/// none, except for text, that the cache may grow by a slab, that what a sequence leaves behind becomes a known prefix,
/// and that a model with windows notes such as it goes.
class DECANT_API Engine {
 public:
  /// Opens a model for one engine: Model::open() and create(). What model_options leave open (memory_limit_bytes,
  /// n_threads, log) is taken from `options`.
  static Result<std::unique_ptr<Engine>> open(const std::string& path, const EngineOptions& options = {},
                                              const ModelOptions& model_options = {});

  /// Errors: `invalid_argument` (an option outside its limits, by name), `unsupported` (isa), `over_limit` (the memory
  /// limit has no room for the weights, the step's buffers and some cache), `out_of_memory`, `io` (no threads).
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, const EngineOptions& options = {});

  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// A text of its own, empty.
  Result<Session> session(const SequenceOptions& options = {});
  /// A text from a file that Session::save() or save() wrote. Errors: as restore().
  Result<Session> restore_session(const std::string& path);

  /// What a request would take, and whether submit() would take it; nothing changes. Without a memory limit there is
  /// room as long as fewer than max_sequences are alive. A known prefix may spare some of it. Errors: what is wrong
  /// with the request itself, as submit().
  Result<Admission> admit(const Request& request) const;

  /// Takes a sequence into the next steps; info() says how much of its prompt was known already. Errors:
  /// `invalid_argument` (empty prompt, id outside the vocabulary, prompt longer than n_ctx, parameter outside its
  /// limits), `unsupported` (stop strings or text without a tokenizer), `cache_full` (max_sequences are alive, or what
  /// they may take leaves no room within the memory limit: wait), `over_limit` (no room even alone), `out_of_memory`.
  Result<SequenceId> submit(Request request);

  /// Advances every submitted sequence that can: one decode token each, the rest of the step's room for chunks of
  /// prompts, by priority and then in turn. Sequences that were told to stop, or are late, end here, in a step that
  /// computes nothing.
  ///
  /// A transaction: on any error (`cancelled` by `stop`, looked at between layers; `non_finite`, naming the layer;
  /// `cache_full`; `out_of_memory`) nothing visible has changed and the same step may be tried again. A step whose
  /// sequences have all been told to stop meanwhile ends early, within a layer.
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
  /// context is full), as it went on before. Errors as submit().
  Status extend(SequenceId sequence, std::span<const int32_t> ids, int max_new_tokens);
  /// The same with other options.
  Status extend(SequenceId sequence, std::span<const int32_t> ids, const GenerationOptions& options);

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

  /// Saves all known prefixes. Errors: as save().
  Status save_prefixes(const std::string& path) const;
  /// Adds the prefixes of a file: how many tokens are known by it. Errors: as restore().
  Result<int64_t> restore_prefixes(const std::string& path);
  /// Forgets all known prefixes. What sequences use stays theirs.
  void forget_prefixes() noexcept;
  /// Forgets those of a salt.
  void forget_prefixes(std::string_view salt) noexcept;

  /// Bytes of cache that a sequence of n_tokens takes, before any work.
  size_t cache_bytes_needed(int n_tokens) const noexcept;

  /// Ends a sequence and gives its cache back. A step that computes for it alone ends within a layer.
  /// `invalid_argument` for one that isn't alive.
  Status cancel(SequenceId sequence);

  /// Sequences alive, paused ones and those of sessions included.
  int n_sequences() const noexcept;

  const Model& model() const noexcept;  ///< valid as long as the engine

  int n_ctx() const noexcept;        ///< longest sequence in tokens, as it is in force
  int n_threads() const noexcept;    ///< threads that compute
  const char* isa() const noexcept;  ///< the kernel table in force, e.g. "avx2"

  CacheStats cache_stats() const noexcept;    ///< what the cache holds now
  MemoryStats memory_stats() const noexcept;  ///< who has the memory now

  struct DECANT_LOCAL Impl;
  DECANT_LOCAL explicit Engine(std::shared_ptr<Impl> impl) noexcept;  ///< for create()
  DECANT_LOCAL Impl& impl() noexcept;                                 ///< for decant's own tests

 private:
  std::shared_ptr<Impl> impl_;  ///< its sessions', too
};

}  // namespace decant
