// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "decant/export.h"

namespace decant {

/// What one step did.
struct StepStats {
  int n_prefill_tokens = 0;
  int n_decode_tokens = 0;
  int64_t elapsed_ns = 0;  ///< the whole step
  int64_t forward_ns = 0;  ///< of which: the transformer
  int64_t sample_ns = 0;   ///< of which: choosing tokens
};

/// Why a prompt, or the rest of it, was not known already.
enum class PrefixMiss : int32_t {
  none,       ///< all of it that could be was known
  off,        ///< prefixes are not shared: CacheOptions, or the request
  unknown,    ///< nothing is known under this salt
  diverged,   ///< known texts differ from here on, or nobody went further
  evicted,    ///< it was known, and had to make way
  window,     ///< known, but blocks that a window needs are gone: n_known tells how far
  no_memory,  ///< the last block is known in part, and there was no room for a copy of that
};
/// "none", "off", "unknown", "diverged", "evicted", "window", "no_memory".
DECANT_API const char* to_string(PrefixMiss why) noexcept;

/// How much of a prompt came from the tree of known prefixes.
struct PrefixHit {
  int n_tokens = 0;  ///< need not be computed
  int n_known = 0;   ///< were known, usable or not; ≥ n_tokens
  PrefixMiss why = PrefixMiss::none;
};

/// The tree of known prefixes.
struct PrefixStats {
  int64_t n_nodes = 0;           ///< runs of up to block_tokens tokens
  int64_t n_tokens = 0;          ///< known tokens, each shared beginning counted once
  int64_t n_lookups = 0;         ///< prompts that were looked up
  int64_t n_hits = 0;            ///< of these: with at least one known token
  int64_t n_hit_tokens = 0;      ///< tokens that need not be computed, over all prompts
  int64_t n_asked_tokens = 0;    ///< tokens of all those prompts
  int64_t n_evicted_blocks = 0;  ///< that had to make way
};

/// What the KV cache holds. Blocks are counted once, whoever shares them:
/// used_bytes = unique_bytes + shared_bytes + prefix_bytes; reserved_bytes = used_bytes + free_bytes + sink_bytes.
struct CacheStats {
  size_t limit_bytes = 0;     ///< 0: none
  size_t reserved_bytes = 0;  ///< taken from the operating system
  size_t used_bytes = 0;      ///< blocks that have an owner
  size_t unique_bytes = 0;    ///< of these: one sequence's alone
  size_t shared_bytes = 0;    ///< several sequences', or a sequence's and the tree's
  size_t prefix_bytes = 0;    ///< the tree's alone: make way when needed
  size_t free_bytes = 0;      ///< free blocks within slabs
  size_t sink_bytes = 0;      ///< unrotated keys of attention sinks
  size_t table_bytes = 0;     ///< block tables and the tree's own nodes; beside reserved_bytes
  int64_t n_blocks_used = 0;
  int64_t n_blocks_shared = 0;
  int64_t n_blocks_free = 0;
  int n_sequences = 0;
  int64_t n_tokens = 0;  ///< committed tokens of all sequences
  PrefixStats prefixes;
};

/// Who has an engine's memory. What is left of a process's is its program, its libraries and small things.
struct MemoryStats {
  size_t weights_bytes = 0;     ///< of the model, in tiles, whole pages; shared by all of its engines
  size_t activation_bytes = 0;  ///< rows of EngineOptions::max_step_tokens
  size_t attention_bytes = 0;   ///< scratch, and partial results of long contexts
  size_t logits_bytes = 0;      ///< rows of EngineOptions::max_logit_rows
  size_t sampler_bytes = 0;
  size_t tokenizer_bytes = 0;  ///< vocabulary and merges; about, since they lie in maps
  size_t sequence_bytes = 0;   ///< ids
  size_t cache_bytes = 0;      ///< CacheStats::reserved_bytes and table_bytes
  size_t limit_bytes = 0;      ///< EngineOptions::memory_limit_bytes

  /// Of all of these but the limit.
  size_t total_bytes() const noexcept {
    return weights_bytes + activation_bytes + attention_bytes + logits_bytes + sampler_bytes + tokenizer_bytes +
           sequence_bytes + cache_bytes;
  }
};

}  // namespace decant
