// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "decant/dtype.h"

namespace decant {

/// How exact the arithmetic is.
enum class Numerics : int32_t {
  /// Quantized weights meet int8 activations; every output is one fixed sequence of IEEE operations, so the bits don't
  /// depend on threads, batch, chunking or ISA. The default.
  exact,
  /// Weights are dequantized to float32 when the model is opened and activations stay float32. As reproducible as
  /// `exact`, nearer to the original model, several times the memory and time. For comparisons.
  reference,
  /// As `exact`, except that products of prefill over F32 weights, and over BF16 weights where the CPU has instructions
  /// for bfloat16, go to oneDNN, the latter with activations rounded to bfloat16: about twice as fast, but the bits may
  /// depend on the CPU and on how the prompt is chunked.
  fast,
};
/// "exact", "reference", "fast".
const char* to_string(Numerics numerics) noexcept;

/// How much a message matters, the least first. No message is `off`.
enum class LogLevel : int32_t { trace, debug, info, warn, error, off };

/// Where a model's or an engine's messages go. Called from any thread, one message a call, no newline. Empty: silence.
using LogSink = std::function<void(LogLevel level, std::string_view message)>;

struct StepProfile;
/// Told of each step that did something, right after it, from the thread that called step(): see profile.h. Its time
/// isn't part of the step. Must not throw, nor call the engine.
using StepObserver = std::function<void(const StepProfile& step)>;

/// How a model is opened.
struct ModelOptions {
  Numerics numerics = Numerics::exact;
  /// Threads that read and pack weights. 0: as many as affinity and the cgroup's cpu.max allow.
  int n_threads = 0;
  /// A packed file is mapped instead of read: nothing is copied, and processes share its pages. Whoever cuts the file
  /// short or writes into it while the model is open kills the process (SIGBUS) or changes its weights; false reads it
  /// into memory of its own. Never changes a bit of the output; other files are always read.
  bool map_packed = true;
  /// Bytes that the weights may take: more than that are refused before they are read (`over_limit`). 0: no limit. For
  /// the whole of an engine see EngineOptions::memory_limit_bytes.
  size_t memory_limit_bytes = 0;
  /// Told now and then, from the opening thread, how many bytes of the weights are in place. May be empty.
  std::function<void(size_t bytes_done, size_t bytes_total)> progress{};
  /// Stops the loading: open() returns `cancelled`. Looked at every few megabytes.
  std::stop_token stop{};
  /// Stops the loading at this time, in the same way. Empty: never.
  std::optional<std::chrono::steady_clock::time_point> deadline{};
  LogSink log{};  ///< of the opening; the engine has its own
};

/// What an engine's KV cache holds, and how much.
struct CacheOptions {
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;
  /// Tokens per block, a multiple of 16 from 16 to 256. Larger: longer contiguous reads; smaller: less waste at each
  /// sequence's tail (block_tokens / 2 on average). Never changes a bit of the output.
  int block_tokens = 64;
  /// Bytes that all slabs of the cache may take together; reserve() answers `cache_full` beyond, and what was submitted
  /// beyond it waits. 0: no limit but what n_ctx and max_sequences allow. See also EngineOptions::memory_limit_bytes.
  size_t limit_bytes = 0;
  /// Bytes of blocks that are kept though no sequence uses them, because a later prompt may begin alike. They make way
  /// where limit_bytes asks for it. 0: prefixes are not shared. Never changes a bit of the output.
  size_t prefix_bytes = size_t{256} << 20;
  /// Tokens that layers with a window keep beyond it, so that a truncation by that many costs nothing. A deeper one
  /// makes them be computed again.
  int rollback_tokens = 0;
};

/// What an engine is for as long as it lives.
struct EngineOptions {
  /// Threads that compute, the caller of step() among them. 0: as many as affinity and the cgroup's cpu.max allow.
  /// Never changes a bit of the output.
  int n_threads = 0;
  /// Ties each thread but the caller's to a CPU of the process's affinity mask of its own, in order, the first being
  /// left to the caller. `invalid_argument` where the mask has fewer CPUs than threads. Helps where nothing else runs,
  /// and hurts where something does.
  bool pin_threads = false;
  /// Kernel table: "auto" (the best this CPU has), "reference", "avx2", "avxvnni", "avx512", "avx512vnni".
  /// `unsupported` if the CPU lacks it. Never changes a bit of the output.
  std::string isa = "auto";
  /// Longest sequence in tokens, prompt included. 0: the model's own limit. More than that is refused.
  int n_ctx = 0;
  /// Sequences that may live at once, 1 to 4096. Each costs a row of logits, unless max_logit_rows says otherwise.
  int max_sequences = 8;
  /// Tokens that one step may compute, prompt chunks and decodes together, 1 to 65536; at least max_sequences. Sizes
  /// the step's buffers.
  int max_step_tokens = 512;
  /// Prompt tokens that one step computes of one sequence. 0: as many as fit into the step. Never changes a bit of the
  /// output.
  int prefill_chunk = 0;
  /// While other sequences decode, prompts' part of a step is cut so that the step takes about this many milliseconds,
  /// judging by the last steps with a prompt; 16 tokens at least. They wait no longer for their next token, however long
  /// a prompt is and however many there are. 0: no such cut. Never changes a bit of the output.
  int step_target_ms = 250;
  /// Rows of logits that one step may return. 0: max_sequences. Raise to max_step_tokens to ask for the logits of every
  /// prompt position.
  int max_logit_rows = 0;
  CacheOptions cache{};
  /// Bytes that the engine may take in all: the model's weights and tokenizer, the step's buffers, and the cache, which
  /// has what the others leave. Each sequence is taken in with all that it may grow to (its prompt and max_new_tokens,
  /// or the whole context), or refused: no step lacks memory later. 0: no limit, and no such accounting.
  size_t memory_limit_bytes = 0;
  /// Told of each step where its time went. Empty: nothing is measured, at the cost of a branch an operation. Never
  /// changes a bit of the output.
  StepObserver on_step{};
  LogSink log{};
};

/// How the next token is chosen from a row of logits. Defaults switch everything off: plain sampling at temperature 1.
/// Order: repetition penalty, no-repeat n-gram, temperature, top-k, top-p, min-p, typical-p, epsilon, eta, then a draw.
struct SamplingParams {
  float temperature = 1.0F;  ///< ≥ 0; 0 is greedy: the greatest logit after penalties, ties to the lowest id
  int top_k = 0;             ///< keep the k greatest, every tie of the k-th included; 0: off
  float top_p = 1.0F;        ///< keep the smallest set of likeliest tokens whose sum exceeds p, in (0, 1]; 1: off
  float min_p = 0.0F;        ///< drop tokens below min_p times the greatest probability, in [0, 1]; 0: off
  float typical_p = 1.0F;    ///< Meister et al. 2022 (arXiv:2202.00666), in (0, 1]; 1: off
  float epsilon_cutoff =
      0.0F;  ///< drop tokens below this probability, in [0, 1); 0: off. Hewitt et al. 2022 (arXiv:2210.15191)
  float eta_cutoff = 0.0F;  ///< the same paper's entropy-dependent cutoff, in [0, 1); 0: off
  float repetition_penalty =
      1.0F;                      ///< > 0; divides positive and multiplies negative logits of ids already seen; 1: off
  int no_repeat_ngram_size = 0;  ///< forbid tokens that would repeat an n-gram of the history; 0: off
  uint64_t seed = 0;             ///< with the position, the key of the generator: same seed, same text
};

}  // namespace decant
