// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "decant/export.h"

namespace decant {

/// What the thread that calls Engine::step() goes through, in the order in which it does. Those from embed to head are
/// the operations of the transformer.
enum class Op : int32_t {
  schedule,     ///< choosing what to compute, and reserving slots of the cache for it
  embed,        ///< rows of the embedding
  rotation,     ///< cos and sin of the positions
  attn_norm,    ///< norm before attention, with the rounding to int8 that a quantized product needs
  qkv,          ///< W_q h, W_k h, W_v h
  kv_append,    ///< norms and rotation of q and k; k and v to their slots
  attention,    ///< softmax(q K≤iᵀ / √d) V≤i
  attn_output,  ///< x += W_o a, rounding included
  ffn_norm,     ///< norm before the feed-forward network, rounding included
  ffn_up,       ///< gate and up projections with the activation
  ffn_down,     ///< x += W_down g
  output_norm,  ///< norm of the rows that want logits
  head,         ///< logits = W_head h
  sample,       ///< choosing tokens
  commit,       ///< what a caller can see changes; blocks that a window forgets are given back
};
inline constexpr int kOps = 15;  ///< how many there are
/// "schedule", "embed", …
DECANT_API const char* to_string(Op op) noexcept;
/// Whether it is one of the transformer's.
constexpr bool is_operation(Op op) noexcept { return op >= Op::embed && op <= Op::head; }

/// One Op of one layer. All times of a step are nanoseconds since it began.
struct OpProfile {
  Op op = Op::schedule;
  int layer = -1;        ///< -1: of none
  int64_t begin_ns = 0;  ///< each begins where the one before it ends
  int64_t end_ns = 0;
  int64_t wait_ns = 0;  ///< of this: the calling thread had nothing left to do and waited for others
  size_t bytes = 0;     ///< of weights, as the file has them, and of earlier tokens' keys and values, that must be read
};

/// What one thread did of an operation without a break.
struct LapProfile {
  int op = 0;  ///< index in StepProfile::ops
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int n_pieces = 0;  ///< pieces of the operation; those of one operation are alike, but the last may be smaller
};

/// What one thread did in a step.
struct ThreadProfile {
  int64_t busy_ns = 0;               ///< the rest of the step it waited for work
  std::span<const LapProfile> laps;  ///< in order, none of them overlapping
};

/// A token that a step gave to a sequence.
struct TokenTiming {
  int64_t sequence = 0;
  bool first = false;      ///< the first since the sequence was submitted, extended or restored
  int64_t latency_ns = 0;  ///< since then, or since the token before
};

/// One step, as EngineOptions::on_step is told of it. Spans are valid during the call.
struct StepProfile {
  int64_t begin_ns = 0;  ///< when it began, of std::chrono::steady_clock
  int64_t elapsed_ns = 0;
  int n_prefill_tokens = 0;
  int n_decode_tokens = 0;
  std::span<const OpProfile> ops;          ///< in order; together they are the step from beginning to end
  std::span<const ThreadProfile> threads;  ///< the first is the calling one
  std::span<const TokenTiming> tokens;

  // Of the threads that compute, since the step before. Those of other threads than the calling one are counted when
  // they have done their part in `head`: of a step without logits with the next that has some.
  int64_t n_page_faults = 0;           ///< served from memory
  int64_t n_major_page_faults = 0;     ///< that had to read a disk
  int64_t n_context_switches = 0;      ///< a thread slept
  int64_t n_involuntary_switches = 0;  ///< a thread was made to leave its CPU to another

  DECANT_API size_t bytes() const noexcept;  ///< of all operations
};

/// Latencies counted in fixed bounds, as Prometheus does it. Copies are independent.
class LatencyHistogram {
 public:
  /// bounds_s: upper bounds in seconds, ascending; at most kMaxBounds of them count. They must outlive the object.
  DECANT_API explicit LatencyHistogram(std::span<const double> bounds_s) noexcept;

  DECANT_API void add(int64_t latency_ns) noexcept;  ///< counts one more

  std::span<const double> bounds_s() const noexcept { return bounds_s_; }  ///< those that count
  /// One for each bound, the latencies up to it and above the one before, and one for what is above all.
  std::span<const int64_t> counts() const noexcept { return {counts_.data(), bounds_s_.size() + 1}; }
  int64_t n() const noexcept { return n_; }         ///< how many were added
  double sum_s() const noexcept { return sum_s_; }  ///< of all, in seconds

  static constexpr size_t kMaxBounds = 31;

 private:
  std::span<const double> bounds_s_;
  std::array<int64_t, kMaxBounds + 1> counts_ = {};
  int64_t n_ = 0;
  double sum_s_ = 0.0;
};

/// Bounds of vLLM's metric vllm:time_to_first_token_seconds, so that dashboards made for it fit.
inline constexpr std::array<double, 22> kFirstTokenBounds = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                                             0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                                             20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
/// Those of vllm:inter_token_latency_seconds.
inline constexpr std::array<double, 19> kInterTokenBounds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                                             0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};

/// What an observer may keep of an engine that serves: `histograms.add(step)`.
struct LatencyHistograms {
  LatencyHistogram first_token{kFirstTokenBounds};
  LatencyHistogram inter_token{kInterTokenBounds};

  DECANT_API void add(const StepProfile& step) noexcept;  ///< counts each of the step's tokens
};

}  // namespace decant
