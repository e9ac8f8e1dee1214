// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
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
  /// chunk.
  bool all_logits = false;
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
  bool idle = false;  ///< no sequence is alive: nothing was done
};

/// Decodes many sequences over one model. Calls on one engine come from one thread at a time; engines don't know each
/// other. Its memory is taken in create() and submit(); step() takes none, except that the cache may grow by a slab.
class Engine {
 public:
  /// Errors: `invalid_argument` (an option outside its limits, by name), `unsupported` (isa), `out_of_memory`, `io` (no
  /// threads).
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, const EngineOptions& options = {});

  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Takes a sequence into the next steps. Errors: `invalid_argument` (empty prompt, id outside the vocabulary, prompt
  /// longer than n_ctx, parameter outside its limits), `cache_full` (max_sequences are alive), `out_of_memory`.
  Result<SequenceId> submit(Request request);

  /// Advances every sequence that can: one decode token each, the rest of the step's room for chunks of prompts.
  ///
  /// A transaction: on any error (`cancelled` by `stop`, looked at between layers; `non_finite`, naming the layer;
  /// `cache_full`; `out_of_memory`) nothing visible has changed and the same step may be tried again.
  Result<StepReport> step(const std::stop_token& stop = {});

  /// Ends a sequence and gives its cache back. `invalid_argument` for one that isn't alive.
  Status cancel(SequenceId sequence);

  /// Sequences alive.
  int n_sequences() const noexcept;

  const Model& model() const noexcept;
  /// Longest sequence in tokens, threads and kernel table in force.
  int n_ctx() const noexcept;
  int n_threads() const noexcept;
  const char* isa() const noexcept;
  CacheStats cache_stats() const noexcept;

  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);  ///< for create()
  Impl& impl() noexcept;                        ///< for decant's own tests

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace decant
