// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>

#include "decant/attention.h"

namespace decant {

namespace {

constexpr int kLeastChunk = cache::kQueryTokens;  // a query tile of attention
constexpr int kFirstChunk = 4 * kLeastChunk;

}  // namespace

Scheduler::Scheduler(int max_sequences, int max_step_tokens, int prefill_chunk, int max_logit_rows,
                     int64_t step_target_ns)
    : sequences_(static_cast<size_t>(max_sequences)),
      max_step_tokens_(max_step_tokens),
      prefill_chunk_(prefill_chunk),
      max_logit_rows_(max_logit_rows),
      step_target_ns_(step_target_ns) {
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

StepPlan& Scheduler::plan(const StepScope& scope) noexcept {
  plan_.entries.clear();
  plan_.token_ids.clear();
  plan_.n_logit_rows = 0;
  order_.clear();
  ++n_plans_;
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i)
    if (scope.has(slot(i))) order_.push_back(i);
  const auto decodes = [](const Sequence& s) { return s.n_pending() == 1; };
  std::sort(order_.begin(), order_.end(), [&](int a, int b) {
    const Sequence &x = slot(a), &y = slot(b);
    if (decodes(x) != decodes(y)) return decodes(x);
    if (x.request.priority != y.request.priority) return x.request.priority > y.request.priority;
    if (!decodes(x) && x.served != y.served) return x.served < y.served;
    return x.id < y.id;
  });
  const bool others_decode = !order_.empty() && decodes(slot(order_[0]));
  const int n_in_time = others_decode ? tokens_in_time() : max_step_tokens_;
  bool has_chunk = false;
  for (const int index : order_) {
    Sequence& sequence = slot(index);
    int n = std::min({sequence.n_pending(), sequence.n_same_window(), max_step_tokens_ - plan_.n_tokens()});
    if (prefill_chunk_ > 0) n = std::min(n, prefill_chunk_);
    if (!decodes(sequence) && others_decode)
      n = std::min(n, std::max(n_in_time - plan_.n_tokens(), has_chunk ? 0 : kLeastChunk));
    if (sequence.request.all_logits) n = std::min(n, max_logit_rows_ - plan_.n_logit_rows);
    if (n == sequence.n_pending() && plan_.n_logit_rows == max_logit_rows_) --n;  // its last token would want a row
    if (n <= 0) continue;
    if (!decodes(sequence)) {
      has_chunk = true;
      sequence.served = n_plans_;
    }
    append(index, n);
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
  entry.first_slot = sequence.first_slot();
  entry.n_sinks = sequence.endless() ? sequence.request.n_sinks : 0;
  plan_.n_logit_rows += entry.n_logit_rows;
  const auto first = sequence.ids.begin() + (sequence.n_computed - sequence.ids_begin);
  plan_.token_ids.insert(plan_.token_ids.end(), first, first + n_tokens);
  plan_.entries.push_back(entry);
}

// Whole query tiles that the target allows; few while nothing is known.
int Scheduler::tokens_in_time() const noexcept {
  if (step_target_ns_ == 0) return max_step_tokens_;
  if (ns_per_token_ == 0) return std::min(kFirstChunk, max_step_tokens_);
  const int64_t n = step_target_ns_ / ns_per_token_ / kLeastChunk * kLeastChunk;
  return static_cast<int>(std::min<int64_t>(n, max_step_tokens_));
}

void Scheduler::note_step(const StepPlan& plan, int64_t elapsed_ns) noexcept {
  const auto is_prompt = [](const PlanEntry& entry) { return entry.n_tokens > 1; };
  if (!std::any_of(plan.entries.begin(), plan.entries.end(), is_prompt)) return;
  const int64_t now = std::max<int64_t>(elapsed_ns / plan.n_tokens(), 1);
  ns_per_token_ = std::max(now, (ns_per_token_ + now) / 2);  // slower at once, faster by and by
}

void Scheduler::drop_last(StepPlan& plan) noexcept {
  const PlanEntry& last = plan.entries.back();
  plan.token_ids.resize(static_cast<size_t>(last.first_row));
  plan.n_logit_rows = last.first_logit_row;
  plan.entries.pop_back();
}

}  // namespace decant
