// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>

namespace decant {

Scheduler::Scheduler(int max_sequences, int max_step_tokens, int prefill_chunk, int max_logit_rows)
    : sequences_(static_cast<size_t>(max_sequences)),
      max_step_tokens_(max_step_tokens),
      prefill_chunk_(prefill_chunk),
      max_logit_rows_(max_logit_rows) {
  order_.reserve(sequences_.size());
  plan_.entries.reserve(sequences_.size());
  plan_.token_ids.reserve(static_cast<size_t>(max_step_tokens));
}

Sequence* Scheduler::free_slot() noexcept { return find(0); }

Sequence* Scheduler::find(SequenceId id) noexcept {
  const auto found = std::find_if(sequences_.begin(), sequences_.end(), [&](const Sequence& s) { return s.id == id; });
  return found != sequences_.end() ? &*found : nullptr;
}

int Scheduler::n_sequences() const noexcept {
  return static_cast<int>(
      std::count_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return s.id != 0; }));
}

StepPlan& Scheduler::plan() noexcept {
  plan_.entries.clear();
  plan_.token_ids.clear();
  plan_.n_logit_rows = 0;
  order_.clear();
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i)
    if (const Sequence& s = sequences_[static_cast<size_t>(i)]; s.id != 0 && !s.paused) order_.push_back(i);
  std::sort(order_.begin(), order_.end(), [&](int a, int b) {
    const Sequence &x = sequences_[static_cast<size_t>(a)], &y = sequences_[static_cast<size_t>(b)];
    const bool x_decodes = x.n_pending() == 1, y_decodes = y.n_pending() == 1;
    return x_decodes != y_decodes ? x_decodes : x.id < y.id;
  });
  for (const int index : order_) {
    const Sequence& sequence = sequences_[static_cast<size_t>(index)];
    int n = std::min({sequence.n_pending(), sequence.n_same_window(), max_step_tokens_ - plan_.n_tokens()});
    if (prefill_chunk_ > 0) n = std::min(n, prefill_chunk_);
    if (sequence.request.all_logits) n = std::min(n, max_logit_rows_ - plan_.n_logit_rows);
    if (n == sequence.n_pending() && plan_.n_logit_rows == max_logit_rows_) --n;  // its last token would want a row
    if (n > 0) append(index, n);
  }
  return plan_;
}

void Scheduler::append(int index, int n_tokens) noexcept {
  const Sequence& sequence = sequences_[static_cast<size_t>(index)];
  PlanEntry entry;
  entry.slot = index;
  entry.sequence = sequence.cache;
  entry.first_pos = sequence.n_computed;
  entry.n_tokens = n_tokens;
  entry.first_row = plan_.n_tokens();
  entry.sample = n_tokens == sequence.n_pending();
  entry.n_logit_rows = sequence.request.all_logits ? n_tokens : (entry.sample ? 1 : 0);
  entry.first_logit_row = plan_.n_logit_rows;
  entry.first_slot = sequence.slid_to > 0 ? sequence.slid_to - sequence.request.n_sinks : 0;
  entry.n_sinks = sequence.endless() ? sequence.request.n_sinks : 0;
  plan_.n_logit_rows += entry.n_logit_rows;
  const auto first = sequence.ids.begin() + (sequence.n_computed - sequence.ids_begin);
  plan_.token_ids.insert(plan_.token_ids.end(), first, first + n_tokens);
  plan_.entries.push_back(entry);
}

void Scheduler::drop_last(StepPlan& plan) noexcept {
  const PlanEntry& last = plan.entries.back();
  plan.token_ids.resize(static_cast<size_t>(last.first_row));
  plan.n_logit_rows = last.first_logit_row;
  plan.entries.pop_back();
}

}  // namespace decant
