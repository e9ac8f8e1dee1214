// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "decant/cache.h"
#include "decant/detail/log.h"
#include "decant/engine.h"

#include "engine/forward.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler.h"
#include "engine/step_recorder.h"
#include "engine/thread_pool.h"

namespace decant {

struct Engine::Impl {
  std::shared_ptr<const Model> model;
  EngineOptions options;  ///< every 0 that means "choose" already replaced
  Isa isa = Isa::reference;
  detail::Log log;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<cache::KvCache> cache;
  std::unique_ptr<Forward> forward;
  std::unique_ptr<sampler::Sampler> sampler;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<StepRecorder> recorder;  ///< null: nobody wants to know where the time goes
  SequenceId next_id = 1;
  bool has_windows = false;        ///< some layer's blocks are given back as a sequence grows
  bool learned_positions = false;  ///< tokens can't be moved

  // A step's results, sized at creation.
  std::vector<cache::KvGrowth> growths;
  std::vector<sampler::Pick> picks;
  std::vector<TokenEvent> events;
  std::vector<LogitRows> logit_rows;

  Result<StepReport> step(const std::stop_token& stop);
  Result<SequenceId> submit(Request&& request);
  Status cancel(SequenceId id);
  void release(Sequence& sequence) noexcept;
  Result<SequenceId> fork(SequenceId id, const SamplingParams& sampling);
  Status truncate(SequenceId id, int n_tokens);
  Status remove(SequenceId id, int first, int n);
  Status extend(SequenceId id, std::span<const int32_t> ids, int max_new_tokens);
  Status set_sampling(SequenceId id, const SamplingParams& sampling);
  Result<SequenceInfo> info(SequenceId id) const;
  Status save(SequenceId id, const std::string& path);
  Result<SequenceId> restore(const std::string& path);
  cache::SnapshotIdentity identity() const;

 private:
  Result<Sequence*> find(SequenceId id) const;
  Status check_ids(std::span<const int32_t> ids) const;
  Status check_window(const Request& request) const;
  Status rewind(Sequence& sequence, int n_tokens);
  void publish(const Sequence& sequence);
  void publish_all();
  Status slide();
  Result<cache::KvReservation> reserve(StepPlan& plan);
  Status pick(const StepPlan& plan, const LogitsView& logits);
  void settle(const StepPlan& plan, const LogitsView& logits);
  TokenEvent advance(Sequence& sequence, const sampler::Pick& pick) const;
  void now(Op op) noexcept {
    if (recorder) recorder->begin(op);
  }
};

}  // namespace decant
