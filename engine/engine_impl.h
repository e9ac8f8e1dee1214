// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "decant/detail/log.h"
#include "decant/engine.h"

#include "cache/kv_cache.h"
#include "engine/forward.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler.h"
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
  SequenceId next_id = 1;

  // A step's results, sized at creation.
  std::vector<cache::KvGrowth> growths;
  std::vector<sampler::Pick> picks;
  std::vector<TokenEvent> events;
  std::vector<LogitRows> logit_rows;

  Result<StepReport> step(const std::stop_token& stop);
  Result<SequenceId> submit(Request&& request);
  void release(Sequence& sequence) noexcept;

 private:
  Result<cache::KvReservation> reserve(StepPlan& plan);
  Status pick(const StepPlan& plan, const LogitsView& logits);
  void settle(const StepPlan& plan, const LogitsView& logits);
  TokenEvent advance(Sequence& sequence, const sampler::Pick& pick) const;
};

}  // namespace decant
