// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace decant {

/// What one step did.
struct StepStats {
  int n_prefill_tokens = 0;
  int n_decode_tokens = 0;
  int64_t elapsed_ns = 0;  ///< the whole step
  int64_t forward_ns = 0;  ///< of which: the transformer
  int64_t sample_ns = 0;   ///< of which: choosing tokens
};

/// What the KV cache holds.
struct CacheStats {
  size_t limit_bytes = 0;
  size_t reserved_bytes = 0;  ///< slabs taken from the operating system
  size_t used_bytes = 0;      ///< blocks that belong to a sequence
  int64_t n_blocks_used = 0;
  int64_t n_blocks_free = 0;  ///< within the slabs
  int n_sequences = 0;
};

}  // namespace decant
