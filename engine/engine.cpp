// SPDX-License-Identifier: Apache-2.0
#include "decant/engine.h"

#include <algorithm>
#include <limits>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "engine/engine_impl.h"

namespace decant {

namespace {

constexpr int kMaxSequences = 4096, kMaxStepTokens = 65536, kMaxThreads = 1024;

Status check_range(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return {};
  return Error{ErrorCode::invalid_argument, detail::format("{} is {}; {} to {} is possible", name, value, low, high)};
}

/// Checks the options and replaces every 0 that means "choose".
Status resolve(EngineOptions& options, const ModelInfo& model) {
  if (Status ok = check_range("n_threads", options.n_threads, 0, kMaxThreads); !ok) return ok;
  if (Status ok = check_range("max_sequences", options.max_sequences, 1, kMaxSequences); !ok) return ok;
  if (Status ok = check_range("max_step_tokens", options.max_step_tokens, options.max_sequences, kMaxStepTokens); !ok)
    return ok;
  if (Status ok = check_range("prefill_chunk", options.prefill_chunk, 0, std::numeric_limits<int>::max()); !ok)
    return ok;
  if (Status ok = check_range("step_target_ms", options.step_target_ms, 0, 1000000); !ok) return ok;
  if (Status ok = check_range("max_logit_rows", options.max_logit_rows, 0, options.max_step_tokens); !ok) return ok;
  if (options.n_ctx < 0 || options.n_ctx > model.n_ctx)
    return Error{ErrorCode::invalid_argument,
                 detail::format("n_ctx is {}; the model was made for at most {} tokens", options.n_ctx, model.n_ctx)};
  if (options.n_threads == 0) options.n_threads = default_thread_count();
  if (options.n_ctx == 0) options.n_ctx = model.n_ctx;
  if (options.max_logit_rows == 0) options.max_logit_rows = options.max_sequences;
  return {};
}

std::vector<cache::KvLayerShape> cache_shape(const model::ModelConfig& config) {
  std::vector<cache::KvLayerShape> layers;
  for (const model::LayerConfig& layer : config.layers)
    layers.push_back(
        {layer.n_kv_heads, config.head_dim, config.head_dim, layer.window, false, config.rope_inv_freq, 0});
  return layers;
}

Result<std::unique_ptr<Engine>> create_engine(std::shared_ptr<const Model>&& model, const EngineOptions& options) {
  if (!model) return Error{ErrorCode::invalid_argument, "no model was given"};
  const detail::FpState fp_state;
  auto impl = std::make_unique<Engine::Impl>();
  impl->model = std::move(model);
  impl->options = options;
  impl->log = detail::Log("engine", options.log);
  if (Status ok = resolve(impl->options, impl->model->info()); !ok) return ok.error();
  const EngineOptions& o = impl->options;

  Result<Isa> isa = resolve_isa(o.isa);
  if (!isa) return isa.error();
  impl->isa = *isa;
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(o.n_threads, o.pin_threads);
  if (!pool) return pool.error();
  impl->pool = std::move(*pool);
  const model::ModelConfig& config = impl->model->parts().config;
  Result<std::unique_ptr<cache::KvCache>> cache =
      cache::KvCache::create(cache_shape(config), o.cache, o.max_sequences, o.n_ctx, impl->isa);
  if (!cache) return cache.error();
  impl->cache = std::move(*cache);

  impl->has_windows = std::any_of(config.layers.begin(), config.layers.end(),
                                  [](const model::LayerConfig& layer) { return layer.window > 0; });
  impl->learned_positions = static_cast<bool>(impl->model->parts().weights.position_embedding);
  const Forward::Limits limits{o.max_step_tokens, o.max_logit_rows, o.max_sequences, o.n_ctx};
  impl->forward = std::make_unique<Forward>(impl->model->parts(), limits, impl->isa, *impl->pool);
  impl->sampler = std::make_unique<sampler::Sampler>(config.vocab_size);
  impl->scheduler = std::make_unique<Scheduler>(o.max_sequences, o.max_step_tokens, o.prefill_chunk, o.max_logit_rows,
                                                int64_t{o.step_target_ms} * 1000000);
  if (o.on_step) {
    impl->recorder = std::make_unique<StepRecorder>(o.on_step, impl->model->parts(), *impl->pool, o.max_sequences);
    impl->forward->set_recorder(impl->recorder.get());
  }
  const auto n = static_cast<size_t>(o.max_sequences);
  impl->growths.reserve(n);
  impl->picks.reserve(n);
  impl->events.reserve(n);
  impl->logit_rows.reserve(n);
  impl->log.info("{} threads, {} kernels, contexts of {} tokens, cache of {}/{}", o.n_threads, to_string(impl->isa),
                 o.n_ctx, to_string(o.cache.k_type), to_string(o.cache.v_type));
  return std::make_unique<Engine>(std::move(impl));
}

/// f(), where memory that runs out is an error: its text is short enough to need none.
template <typename F>
auto guarded(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "out of memory"};
  }
}

}  // namespace

const char* to_string(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      return "error";
  }
  return "unknown";
}

Result<StepReport> Engine::Impl::step(const std::stop_token& stop) {
  const detail::FpState fp_state;
  const int64_t start_ns = steady_ns();
  if (recorder) recorder->begin_step();
  events.clear();
  logit_rows.clear();
  if (Status slid = slide(); !slid) return slid.error();
  StepPlan& plan = scheduler->plan();
  if (plan.empty()) return StepReport{{}, {}, {}, true};
  Result<cache::KvReservation> slots = reserve(plan);  // given back on scope exit unless committed
  if (!slots) return slots.error();
  if (recorder) recorder->note_plan(plan, *cache);
  const int64_t forward_ns = steady_ns();
  Result<LogitsView> logits = forward->run(plan, *cache, stop);
  if (!logits) return logits.error();  // nothing a caller can see has changed
  const int64_t sample_ns = steady_ns();
  now(Op::sample);
  scheduler->note_step(plan, sample_ns - forward_ns);
  if (Status picked = pick(plan, *logits); !picked) return picked.error();
  now(Op::commit);
  slots->commit_tokens();
  for (const PlanEntry& entry : plan.entries) {
    // What a window gives back now nobody else can have any more.
    const int bt = options.cache.block_tokens;
    if (has_windows && (entry.first_pos + entry.n_tokens) / bt > entry.first_pos / bt)
      publish(scheduler->slot(entry.slot));
    cache->give_back(entry.sequence);
  }
  settle(plan, *logits);

  StepReport report{events, logit_rows, {}, false};
  for (const PlanEntry& entry : plan.entries)
    (entry.n_tokens == 1 ? report.stats.n_decode_tokens : report.stats.n_prefill_tokens) += entry.n_tokens;
  const int64_t end_ns = steady_ns();
  report.stats.elapsed_ns = end_ns - start_ns;
  report.stats.forward_ns = sample_ns - forward_ns;
  report.stats.sample_ns = end_ns - sample_ns;
  if (recorder) recorder->finish(plan);
  return report;
}

// If the cache can't take the whole plan, the newest prompts wait: those that decode go on.
Result<cache::KvReservation> Engine::Impl::reserve(StepPlan& plan) {
  for (;;) {
    growths.clear();
    for (const PlanEntry& entry : plan.entries) growths.push_back({entry.sequence, entry.n_tokens});
    Result<cache::KvReservation> slots = cache->reserve(growths);
    if (slots || slots.error().code != ErrorCode::cache_full || plan.entries.size() == 1) return slots;
    Scheduler::drop_last(plan);
  }
}

Status Engine::Impl::pick(const StepPlan& plan, const LogitsView& logits) {
  picks.clear();
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = scheduler->slot(entry.slot);
    if (!entry.sample || sequence.n_tokens() >= sequence.limit) {
      picks.push_back({});
      continue;
    }
    const int row = entry.first_logit_row + entry.n_logit_rows - 1;
    const std::span<const float> last(logits.logits + row * logits.stride,
                                      static_cast<size_t>(model->info().vocab_size));
    const std::span<const int32_t> ids(sequence.ids);
    const std::span<const int32_t> history = ids.last(std::min(ids.size(), static_cast<size_t>(options.n_ctx)));
    Result<sampler::Pick> picked = sampler->pick(last, sequence.request.sampling, history, sequence.n_tokens());
    if (!picked) return picked.error();
    picks.push_back(*picked);
  }
  return {};
}

void Engine::Impl::settle(const StepPlan& plan, const LogitsView& logits) {
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    Sequence& sequence = scheduler->slot(entry.slot);
    sequence.n_computed += entry.n_tokens;
    if (entry.n_logit_rows > 0)
      logit_rows.push_back({sequence.id, entry.first_pos + entry.n_tokens - entry.n_logit_rows, entry.n_logit_rows,
                            logits.logits + entry.first_logit_row * logits.stride, static_cast<size_t>(logits.stride)});
    if (!entry.sample) continue;
    events.push_back(advance(sequence, picks[i]));
    if (recorder && picks[i].token_id >= 0) {
      const int64_t now_ns = steady_ns();
      recorder->add_token({sequence.id, !sequence.answered, now_ns - sequence.last_ns});
      sequence.answered = true;
      sequence.last_ns = now_ns;
    }
    if (events.back().finish == FinishReason::none) continue;
    publish(sequence);
    if (sequence.request.keep)
      sequence.paused = true;
    else
      release(sequence);
  }
}

TokenEvent Engine::Impl::advance(Sequence& sequence, const sampler::Pick& pick) const {
  TokenEvent event{sequence.id, pick.token_id, pick.logprob, FinishReason::none};
  if (pick.token_id < 0) {
    event.finish = FinishReason::length;
    return event;
  }
  if (sequence.ids.size() == sequence.ids.capacity()) {  // an endless text: the older half is forgotten
    const auto n = static_cast<ptrdiff_t>(sequence.ids.size() / 2);
    sequence.ids.erase(sequence.ids.begin(), sequence.ids.begin() + n);
    sequence.ids_begin += static_cast<int>(n);
  }
  sequence.ids.push_back(pick.token_id);
  const std::span<const int32_t> ends = model->end_ids();
  if (!sequence.request.ignore_end && std::find(ends.begin(), ends.end(), pick.token_id) != ends.end())
    event.finish = FinishReason::stop;
  else if (sequence.n_tokens() >= sequence.limit)
    event.finish = FinishReason::length;
  return event;
}

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model, const EngineOptions& options) {
  return guarded([&] { return create_engine(std::move(model), options); });
}

Result<SequenceId> Engine::submit(Request request) {
  return guarded([&] { return impl_->submit(std::move(request)); });
}

Result<StepReport> Engine::step(const std::stop_token& stop) {
  return guarded([&] { return impl_->step(stop); });
}

Status Engine::cancel(SequenceId sequence) {
  return guarded([&] { return impl_->cancel(sequence); });
}

Result<SequenceId> Engine::fork(SequenceId sequence, const SamplingParams& sampling) {
  return guarded([&] { return impl_->fork(sequence, sampling); });
}

Status Engine::truncate(SequenceId sequence, int n_tokens) {
  return guarded([&] { return impl_->truncate(sequence, n_tokens); });
}

Status Engine::remove(SequenceId sequence, int first, int n) {
  return guarded([&] { return impl_->remove(sequence, first, n); });
}

Status Engine::extend(SequenceId sequence, std::span<const int32_t> ids, int max_new_tokens) {
  return guarded([&] { return impl_->extend(sequence, ids, max_new_tokens); });
}

Status Engine::set_sampling(SequenceId sequence, const SamplingParams& sampling) {
  return guarded([&] { return impl_->set_sampling(sequence, sampling); });
}

Result<SequenceInfo> Engine::info(SequenceId sequence) const {
  return guarded([&] { return impl_->info(sequence); });
}

Status Engine::save(SequenceId sequence, const std::string& path) {
  return guarded([&] { return impl_->save(sequence, path); });
}

Result<SequenceId> Engine::restore(const std::string& path) {
  return guarded([&] { return impl_->restore(path); });
}

Status Engine::save_prefixes(const std::string& path) const {
  return guarded([&] { return impl_->cache->save_prefixes(path, impl_->identity()); });
}

Result<int64_t> Engine::restore_prefixes(const std::string& path) {
  return guarded([&] { return impl_->cache->restore_prefixes(path, impl_->identity()); });
}

void Engine::forget_prefixes() noexcept { impl_->cache->forget_prefixes(); }
void Engine::forget_prefixes(std::string_view salt) noexcept { impl_->cache->forget_prefixes(salt); }
size_t Engine::cache_bytes_needed(int n_tokens) const noexcept { return impl_->cache->bytes_needed(n_tokens); }

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

int Engine::n_sequences() const noexcept { return impl_->scheduler->n_sequences(); }
const Model& Engine::model() const noexcept { return *impl_->model; }
int Engine::n_ctx() const noexcept { return impl_->options.n_ctx; }
int Engine::n_threads() const noexcept { return impl_->pool->n_threads(); }
const char* Engine::isa() const noexcept { return to_string(impl_->isa); }
CacheStats Engine::cache_stats() const noexcept { return impl_->cache->stats(); }

MemoryStats Engine::memory_stats() const noexcept {
  const CacheStats cache = cache_stats();
  MemoryStats stats = impl_->forward->memory();
  stats.weights_bytes = model().info().packed_bytes;
  stats.sampler_bytes = impl_->sampler->size_bytes();
  stats.cache_bytes = cache.reserved_bytes + cache.table_bytes;
  return stats;
}

Engine::Impl& Engine::impl() noexcept { return *impl_; }

}  // namespace decant
