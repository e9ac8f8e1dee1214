// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "decant/export.h"
#include "decant/options.h"

namespace decant {

/// A sequence of an engine. Positive; never used again.
using SequenceId = int64_t;

/// Tokens that a piece may tell of.
inline constexpr int kMaxTopLogprobs = 20;

/// How a text goes on, from a prompt to the end of an answer.
struct GenerationOptions {
  SamplingParams sampling{};
  /// Tokens to generate at most, the end id included; 0 computes the prompt only. Negative: until the context is full.
  int max_new_tokens = -1;
  /// Goes on past the model's end ids.
  bool ignore_end = false;
  /// The text ends before the first of these, which may lie across tokens and is never part of the text. Empty strings
  /// are passed over. `unsupported` where the model has no tokenizer.
  std::vector<std::string> stop_strings{};
  /// The likeliest tokens that each piece tells of, 0 to kMaxTopLogprobs.
  int top_logprobs = 0;
  /// Where a step has no room for all prompts, those of higher priority come first.
  int priority = 0;
  /// Ends it, looked at between layers. The sequence is at its last whole token then.
  std::stop_token stop{};
  /// Ends it at this time, in the same way. Empty: never.
  std::optional<std::chrono::steady_clock::time_point> deadline{};
};

/// Why a generation ended.
enum class FinishReason : int32_t {
  none,         ///< goes on
  stop,         ///< an end id
  length,       ///< max_new_tokens, or the context is full
  cancelled,    ///< GenerationOptions::stop, Session::cancel(), or the caller's own answer
  error,        ///< a step failed for it
  stop_string,  ///< one of GenerationOptions::stop_strings
  deadline,     ///< GenerationOptions::deadline
};
/// The name as it stands in the enumeration, e.g. "stop_string".
DECANT_API const char* to_string(FinishReason reason) noexcept;

/// log softmax of the raw logits at a token, before penalties and temperature.
struct TokenLogprob {
  int32_t token_id = -1;
  float logprob = 0.0F;
};

/// What a generation has taken. Times are of the steady clock, in nanoseconds since it was submitted or extended.
struct Usage {
  int n_prompt_tokens = 0;     ///< that it was submitted or extended with
  int n_cached_tokens = 0;     ///< of these: known before, so that they weren't computed
  int n_generated_tokens = 0;  ///< the end id included
  int64_t first_token_ns = 0;  ///< the first generated token came; 0: none has
  int64_t last_token_ns = 0;   ///< the last one so far
};

/// A generated token and the text that it made certain. Views are valid until the next call that steps the engine or,
/// from a Stream, the next call of that.
struct Piece {
  SequenceId sequence = 0;
  int32_t token_id = -1;  ///< -1: the sequence ended without a further token
  float logprob = 0.0F;   ///< log softmax of the raw logits at token_id, before penalties and temperature
  FinishReason finish = FinishReason::none;  ///< other than none: the last piece of this generation
  /// The token's own bytes, which may be a part of a character. Empty for special tokens, and as `text` is.
  std::string_view bytes;
  /// Text that is certain now: whole characters of UTF-8, often empty, sometimes of several tokens. What could be the
  /// beginning of a stop string waits; the last piece brings what is left. Empty for a model without a tokenizer, and
  /// with Request::detokenize off.
  std::string_view text;
  std::span<const TokenLogprob> top_logprobs;  ///< likeliest first, ties by lower id
  bool is_special = false;                     ///< a special token, which no text shows
  bool is_end = false;                         ///< one of the model's end ids
  Usage usage;                                 ///< so far
};

/// What the caller answers to a piece.
enum class Flow : int32_t {
  go_on,
  stop,    ///< enough: finishes as if the text had ended here (FinishReason::stop)
  cancel,  ///< finishes as cancelled
};

/// Told of each piece, from the thread that asked for the text. An exception that it throws ends the generation as
/// cancelled and comes out of the call.
using PieceCallback = std::function<Flow(const Piece& piece)>;

/// A generation as a whole.
struct Completion {
  std::string text;
  std::vector<int32_t> ids;  ///< generated, the end id included
  FinishReason finish = FinishReason::none;
  Usage usage;
};

}  // namespace decant
