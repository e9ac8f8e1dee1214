// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "decant/cache.h"

namespace decant {

/// Consecutive tokens of one sequence within a step: a chunk of its prompt, or one token to decode.
struct PlanEntry {
  int slot = 0;                       ///< which sequence of the scheduler
  cache::SequenceIndex sequence = 0;  ///< its place in the cache
  int first_pos = 0;                  ///< position of the first token
  int n_tokens = 0;
  int first_row = 0;        ///< row of the first token within the step's batch
  int n_logit_rows = 0;     ///< how many of its last tokens want logits
  int first_logit_row = 0;  ///< row of the first of those within the step's logits
  bool sample = false;      ///< the last token's logits choose the next token
  int first_slot = 0;       ///< slots before it are not attended to
  int n_sinks = 0;          ///< keys of tokens at positions below it are noted before rotation
};

/// What a step computes, as plain data. Rows of the batch are the entries' tokens, one after the other.
struct StepPlan {
  std::vector<PlanEntry> entries;
  std::vector<int32_t> token_ids;  ///< [n_tokens]
  int n_logit_rows = 0;

  int n_tokens() const { return static_cast<int>(token_ids.size()); }
  bool empty() const { return entries.empty(); }
};

}  // namespace decant
