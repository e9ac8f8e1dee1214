// SPDX-License-Identifier: Apache-2.0
#include "engine/c_api/profile_view.h"

#include <memory>
#include <new>

namespace decant::c_api {

namespace {

decant_op_profile to_c(const OpProfile& op) {
  decant_op_profile out = {};
  out.struct_size = sizeof out;
  out.op = static_cast<int32_t>(op.op);
  out.layer = op.layer;
  out.begin_ns = op.begin_ns;
  out.end_ns = op.end_ns;
  out.wait_ns = op.wait_ns;
  out.bytes = op.bytes;
  return out;
}

decant_lap_profile to_c(const LapProfile& lap) {
  decant_lap_profile out = {};
  out.struct_size = sizeof out;
  out.op = lap.op;
  out.n_pieces = lap.n_pieces;
  out.begin_ns = lap.begin_ns;
  out.end_ns = lap.end_ns;
  return out;
}

decant_token_timing to_c(const TokenTiming& token) {
  decant_token_timing out = {};
  out.struct_size = sizeof out;
  out.sequence = token.sequence;
  out.latency_ns = token.latency_ns;
  out.first = token.first ? 1 : 0;
  return out;
}

/// Pointers to the elements of a list that grows no more.
template <typename T>
void point_to(const std::vector<T>& list, std::vector<const T*>& pointers) {
  pointers.clear();
  for (const T& item : list) pointers.push_back(&item);
}

}  // namespace

const decant_step_profile* ProfileView::assign(const StepProfile& step) {
  ops_.clear();
  laps_.clear();
  threads_.clear();
  tokens_.clear();
  for (const OpProfile& op : step.ops) ops_.push_back(to_c(op));
  for (const TokenTiming& token : step.tokens) tokens_.push_back(to_c(token));
  for (const ThreadProfile& thread : step.threads)
    for (const LapProfile& lap : thread.laps) laps_.push_back(to_c(lap));
  point_to(laps_, lap_pointers_);
  size_t first_lap = 0;
  for (const ThreadProfile& thread : step.threads) {
    decant_thread_profile out = {};
    out.struct_size = sizeof out;
    out.busy_ns = thread.busy_ns;
    out.laps = lap_pointers_.data() + first_lap;
    out.n_laps = thread.laps.size();
    first_lap += thread.laps.size();
    threads_.push_back(out);
  }
  point_to(ops_, op_pointers_);
  point_to(threads_, thread_pointers_);
  point_to(tokens_, token_pointers_);

  step_ = {};
  step_.struct_size = sizeof step_;
  step_.begin_ns = step.begin_ns;
  step_.elapsed_ns = step.elapsed_ns;
  step_.n_prefill_tokens = step.n_prefill_tokens;
  step_.n_decode_tokens = step.n_decode_tokens;
  step_.bytes = step.bytes();
  step_.ops = op_pointers_.data();
  step_.n_ops = op_pointers_.size();
  step_.threads = thread_pointers_.data();
  step_.n_threads = thread_pointers_.size();
  step_.tokens = token_pointers_.data();
  step_.n_tokens = token_pointers_.size();
  step_.n_page_faults = step.n_page_faults;
  step_.n_major_page_faults = step.n_major_page_faults;
  step_.n_context_switches = step.n_context_switches;
  step_.n_involuntary_switches = step.n_involuntary_switches;
  return &step_;
}

StepObserver step_observer(decant_step_callback callback, void* user) {
  if (callback == nullptr) return {};
  return [callback, user, view = std::make_shared<ProfileView>()](const StepProfile& step) {
    try {
      callback(user, view->assign(step));
    } catch (const std::bad_alloc&) {
      // An observer must not throw. That this step is left out is said in c_api.h.
    }
  };
}

}  // namespace decant::c_api
