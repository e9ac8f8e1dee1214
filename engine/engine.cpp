// SPDX-License-Identifier: Apache-2.0
#include "decant/engine.h"

#include <algorithm>
#include <limits>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/block_layout.h"
#include "engine/engine_impl.h"

namespace decant {

namespace {

// A block's entry in a table and its node in the tree of prefixes; a token's id in a sequence, with room to grow, and
// in the tree.
constexpr size_t kBytesBesideBlock = 256, kBytesBesideToken = 12, kEmptyCacheBytes = size_t{64} << 10;

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

/// What the limit leaves for the cache when everything else has its part, and block tables, ids and known prefixes of a
/// full cache theirs.
Status limit_cache(EngineOptions& options, const MemoryStats& memory, const model::ModelConfig& config) {
  if (options.memory_limit_bytes == 0) return {};
  const Result<cache::BlockLayout> layout = cache::BlockLayout::create(cache_shape(config), options.cache.block_tokens,
                                                                       options.cache.k_type, options.cache.v_type);
  if (!layout) return layout.error();
  size_t block_bytes = 0;
  for (const cache::GroupLayout& group : layout->groups) block_bytes += group.block_bytes;
  const size_t beside = kBytesBesideBlock + kBytesBesideToken * static_cast<size_t>(options.cache.block_tokens);
  const size_t taken = memory.total_bytes() + kEmptyCacheBytes, least = taken + block_bytes + beside;
  if (options.memory_limit_bytes < least)
    return Error{ErrorCode::over_limit,
                 detail::format("memory_limit_bytes is {}; weights, tokenizer, buffers and the least cache take {}",
                                options.memory_limit_bytes, least)};
  const size_t left = (options.memory_limit_bytes - taken) / (block_bytes + beside) * block_bytes;
  if (options.cache.limit_bytes == 0 || options.cache.limit_bytes > left) options.cache.limit_bytes = left;
  return {};
}

Result<std::unique_ptr<Engine>> create_engine(std::shared_ptr<const Model>&& model, const EngineOptions& options) {
  if (!model) return Error{ErrorCode::invalid_argument, "no model was given"};
  const detail::FpState fp_state;
  auto impl = std::make_shared<Engine::Impl>();
  impl->model = std::move(model);
  impl->options = options;
  impl->log = detail::Log("engine", options.log);
  if (Status ok = resolve(impl->options, impl->model->info()); !ok) return ok.error();
  EngineOptions& o = impl->options;

  Result<Isa> isa = resolve_isa(o.isa);
  if (!isa) return isa.error();
  impl->isa = *isa;
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(o.n_threads, o.pin_threads);
  if (!pool) return pool.error();
  impl->pool = std::move(*pool);
  const model::ModelConfig& config = impl->model->parts().config;
  impl->has_windows = std::any_of(config.layers.begin(), config.layers.end(),
                                  [](const model::LayerConfig& layer) { return layer.window > 0; });
  impl->learned_positions = static_cast<bool>(impl->model->parts().weights.position_embedding);
  const Forward::Limits limits{o.max_step_tokens, o.max_logit_rows, o.max_sequences, o.n_ctx};
  impl->forward = std::make_unique<Forward>(impl->model->parts(), limits, impl->isa, *impl->pool);
  impl->sampler = std::make_unique<sampler::Sampler>(config.vocab_size);
  impl->scheduler = std::make_unique<Scheduler>(o.max_sequences, o.max_step_tokens, o.prefill_chunk, o.max_logit_rows,
                                                int64_t{o.step_target_ms} * 1000000);
  if (Status limited = limit_cache(o, impl->memory(), config); !limited) return limited.error();
  Result<std::unique_ptr<cache::KvCache>> cache =
      cache::KvCache::create(cache_shape(config), o.cache, o.max_sequences, o.n_ctx, impl->isa);
  if (!cache) return cache.error();
  impl->cache = std::move(*cache);

  if (o.on_step) {
    impl->recorder = std::make_unique<StepRecorder>(o.on_step, impl->model->parts(), *impl->pool, o.max_sequences);
    impl->forward->set_recorder(impl->recorder.get());
  }
  const auto n = static_cast<size_t>(o.max_sequences);
  impl->growths.reserve(n);
  impl->picks.reserve(n);
  for (Engine::Impl::Output* output : {&impl->submitted_output, &impl->session_output}) {
    output->pieces.reserve(n);
    output->logit_rows.reserve(n);
    output->last_words.reserve(n);
  }
  impl->log.info("{} threads, {} kernels, contexts of {} tokens, cache of {}/{}", o.n_threads, to_string(impl->isa),
                 o.n_ctx, to_string(o.cache.k_type), to_string(o.cache.v_type));
  return std::make_unique<Engine>(std::move(impl));
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
    case FinishReason::stop_string:
      return "stop_string";
    case FinishReason::deadline:
      return "deadline";
  }
  return "unknown";
}

/// The caller's own wish, or that of everyone whom the step is for.
class Engine::Impl::PlanStop final : public StopCondition {
 public:
  PlanStop(const Impl& impl, const StepPlan& plan, const std::stop_token& caller)
      : impl_(impl), plan_(plan), caller_(caller) {}

  bool requested() const noexcept override {
    return caller_.stop_requested() ||
           std::all_of(plan_.entries.begin(), plan_.entries.end(), [&](const PlanEntry& entry) {
             return impl_.over(impl_.scheduler->slot(entry.slot)) != FinishReason::none;
           });
  }

 private:
  const Impl& impl_;
  const StepPlan& plan_;
  const std::stop_token& caller_;
};

Result<StepReport> Engine::Impl::step(const StepScope& scope, const std::stop_token& stop) {
  const detail::FpState fp_state;
  const int64_t start_ns = steady_ns();
  if (recorder) recorder->begin_step();
  output = scope.sessions ? &session_output : &submitted_output;
  output->pieces.clear();
  output->logit_rows.clear();
  output->last_words.clear();
  if (end_those_over(scope)) return StepReport{output->pieces, {}, {}, false};
  if (Status slid = slide(scope); !slid) return slid.error();
  StepPlan& plan = scheduler->plan(scope);
  if (plan.empty()) return StepReport{{}, {}, {}, true};
  Result<cache::KvReservation> slots = reserve(plan);  // given back on scope exit unless committed
  if (!slots) return slots.error();
  if (recorder) recorder->note_plan(plan, *cache);
  const int64_t forward_ns = steady_ns();
  Result<LogitsView> logits = forward->run(plan, *cache, PlanStop(*this, plan, stop));
  if (!logits) {  // nothing a caller can see has changed
    if (logits.error().code == ErrorCode::cancelled && !stop.stop_requested()) {
      { const cache::KvReservation given_back = std::move(*slots); }
      if (end_those_over(scope)) return StepReport{output->pieces, {}, {}, false};
      return StepReport{};  // for one that cancel() is about to end
    }
    return logits.error();
  }
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

  StepReport report{output->pieces, output->logit_rows, {}, false};
  for (const PlanEntry& entry : plan.entries)
    (entry.n_tokens == 1 ? report.stats.n_decode_tokens : report.stats.n_prefill_tokens) += entry.n_tokens;
  const int64_t end_ns = steady_ns();
  report.stats.elapsed_ns = end_ns - start_ns;
  report.stats.forward_ns = sample_ns - forward_ns;
  report.stats.sample_ns = end_ns - sample_ns;
  if (recorder) recorder->finish(plan);
  return report;
}

// If the cache can't take the whole plan, those that can wait best do: others that decode go on.
Result<cache::KvReservation> Engine::Impl::reserve(StepPlan& plan) {
  for (;;) {
    growths.clear();
    for (const PlanEntry& entry : plan.entries) growths.push_back({entry.sequence, entry.n_tokens});
    Result<cache::KvReservation> slots = cache->reserve(growths);
    if (slots || slots.error().code != ErrorCode::cache_full || plan.entries.size() == 1) return slots;
    Scheduler::drop_last(plan);
  }
}

// All that a token brings and that may lack memory, before anything is the sequence's.
Status Engine::Impl::pick(const StepPlan& plan, const LogitsView& logits) {
  picks.clear();
  for (const PlanEntry& entry : plan.entries) {
    Sequence& sequence = scheduler->slot(entry.slot);
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
    sampler::likeliest(last, *picked, sequence.top_logprobs);
    if (sequence.text.wanted())
      sequence.text.add(picked->token_id, finish_after(sequence, picked->token_id) != FinishReason::none, ids,
                        sequence.ids_begin);
  }
  return {};
}

void Engine::Impl::settle(const StepPlan& plan, const LogitsView& logits) {
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    Sequence& sequence = scheduler->slot(entry.slot);
    sequence.n_computed += entry.n_tokens;
    if (entry.n_logit_rows > 0)
      output->logit_rows.push_back({sequence.id, entry.first_pos + entry.n_tokens - entry.n_logit_rows,
                                    entry.n_logit_rows, logits.logits + entry.first_logit_row * logits.stride,
                                    static_cast<size_t>(logits.stride)});
    if (entry.sample) advance(sequence, picks[i]);
  }
}

bool Engine::Impl::is_end(int32_t token_id) const noexcept {
  const std::span<const int32_t> ends = model->end_ids();
  return std::find(ends.begin(), ends.end(), token_id) != ends.end();
}

FinishReason Engine::Impl::finish_after(const Sequence& sequence, int32_t token_id) const {
  if (!sequence.request.ignore_end && is_end(token_id)) return FinishReason::stop;
  return sequence.n_tokens() + 1 >= sequence.limit ? FinishReason::length : FinishReason::none;
}

void Engine::Impl::advance(Sequence& sequence, const sampler::Pick& pick) {
  if (pick.token_id < 0) return add_piece(sequence, -1, 0.0F, FinishReason::length);
  const FinishReason finish =
      sequence.text.stopped() ? FinishReason::stop_string : finish_after(sequence, pick.token_id);
  if (sequence.ids.size() == sequence.ids.capacity()) {  // an endless text: the older half is forgotten
    const auto n = static_cast<ptrdiff_t>(sequence.ids.size() / 2);
    sequence.ids.erase(sequence.ids.begin(), sequence.ids.begin() + n);
    sequence.ids_begin += static_cast<int>(n);
  }
  sequence.ids.push_back(pick.token_id);
  sequence.text.commit();
  const int64_t now_ns = steady_ns();
  if (recorder) recorder->add_token({sequence.id, !sequence.answered, now_ns - sequence.last_ns});
  sequence.answered = true;
  sequence.last_ns = now_ns;
  ++sequence.usage.n_generated_tokens;
  sequence.usage.last_token_ns = now_ns - sequence.begin_ns;
  if (sequence.usage.first_token_ns == 0) sequence.usage.first_token_ns = sequence.usage.last_token_ns;
  add_piece(sequence, pick.token_id, pick.logprob, finish);
}

// What its views point to stays as it is until the sequence's next token, or the next such step if the sequence goes.
void Engine::Impl::add_piece(Sequence& sequence, int32_t token_id, float logprob, FinishReason finish) {
  const bool goes = finish != FinishReason::none && !sequence.request.keep;
  if (goes) output->last_words.push_back({std::move(sequence.text), std::move(sequence.top_logprobs)});
  const SequenceText& text = goes ? output->last_words.back().text : sequence.text;
  Piece piece;
  piece.sequence = sequence.id;
  piece.token_id = token_id;
  piece.logprob = logprob;
  piece.finish = finish;
  piece.text = text.text();
  piece.usage = sequence.usage;
  if (token_id >= 0) {
    piece.bytes = text.bytes();
    piece.top_logprobs = goes ? output->last_words.back().top_logprobs : sequence.top_logprobs;
    piece.is_special = model->parts().tokenizer && model->parts().tokenizer->is_special(token_id);
    piece.is_end = is_end(token_id);
  }
  output->pieces.push_back(piece);
  if (sequence.of_session) sequence.waiting = piece;
  if (goes)
    end(sequence);
  else if (finish != FinishReason::none)
    pause(sequence);
}

FinishReason Engine::Impl::over(const Sequence& sequence) const noexcept {
  const GenerationOptions& o = sequence.request;
  if (o.stop.stop_requested() || is_to_cancel(sequence) ||
      (sequence.session_cancel != nullptr && sequence.session_cancel->load()))
    return FinishReason::cancelled;
  return o.deadline && std::chrono::steady_clock::now() >= *o.deadline ? FinishReason::deadline : FinishReason::none;
}

// Their tokens stay; what was computed in a step that ended early is computed again if they go on.
bool Engine::Impl::end_those_over(const StepScope& scope) {
  for (int i = 0; i < options.max_sequences; ++i) {
    Sequence& sequence = scheduler->slot(i);
    if (!scope.has(sequence) || is_to_cancel(sequence)) continue;  // cancel() itself ends the latter
    const FinishReason why = over(sequence);
    if (why == FinishReason::none) continue;
    sequence.text.finish(sequence.ids, sequence.ids_begin);
    add_piece(sequence, -1, 0.0F, why);
  }
  return !output->pieces.empty();
}

Result<std::unique_ptr<Engine>> Engine::open(const std::string& path, const EngineOptions& options,
                                             const ModelOptions& model_options) {
  return guarded([&]() -> Result<std::unique_ptr<Engine>> {
    ModelOptions limited = model_options;
    if (limited.memory_limit_bytes == 0) limited.memory_limit_bytes = options.memory_limit_bytes;
    if (limited.n_threads == 0) limited.n_threads = options.n_threads;
    if (!limited.log) limited.log = options.log;
    Result<std::shared_ptr<const Model>> model = Model::open(path, limited);
    if (!model) return std::move(model).error();
    return create_engine(std::move(*model), options);
  });
}

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model, const EngineOptions& options) {
  return guarded([&] { return create_engine(std::move(model), options); });
}

Result<Admission> Engine::admit(const Request& request) const {
  return entered(*impl_, [&] { return impl_->admit(Request(request)); });
}

Result<SequenceId> Engine::submit(Request request) {
  return entered(*impl_, [&] { return impl_->submit(std::move(request)); });
}

Result<StepReport> Engine::step(const std::stop_token& stop) {
  return entered(*impl_, [&] { return impl_->step({}, stop); });
}

Status Engine::cancel(SequenceId sequence) {
  impl_->to_cancel.store(sequence);
  return entered(*impl_, [&]() -> Status {
    SequenceId asked = sequence;
    impl_->to_cancel.compare_exchange_strong(asked, 0);
    if (Status submitted = impl_->check_submitted(sequence); !submitted) return submitted;
    return impl_->cancel(sequence);
  });
}

Result<SequenceId> Engine::fork(SequenceId sequence, const SamplingParams& sampling) {
  return entered_for(*impl_, sequence, [&] { return impl_->fork(sequence, sampling); });
}

Status Engine::truncate(SequenceId sequence, int n_tokens) {
  return entered_for(*impl_, sequence, [&] { return impl_->truncate(sequence, n_tokens); });
}

Status Engine::remove(SequenceId sequence, int first, int n) {
  return entered_for(*impl_, sequence, [&] { return impl_->remove(sequence, first, n); });
}

Status Engine::extend(SequenceId sequence, std::span<const int32_t> ids, int max_new_tokens) {
  return entered_for(*impl_, sequence, [&] { return impl_->extend(sequence, ids, nullptr, max_new_tokens); });
}

Status Engine::extend(SequenceId sequence, std::span<const int32_t> ids, const GenerationOptions& options) {
  return entered_for(*impl_, sequence, [&] { return impl_->extend(sequence, ids, &options, options.max_new_tokens); });
}

Status Engine::set_sampling(SequenceId sequence, const SamplingParams& sampling) {
  return entered_for(*impl_, sequence, [&] { return impl_->set_sampling(sequence, sampling); });
}

Result<SequenceInfo> Engine::info(SequenceId sequence) const {
  return entered(*impl_, [&] { return impl_->info(sequence); });
}

Status Engine::save(SequenceId sequence, const std::string& path) {
  return entered_for(*impl_, sequence, [&] { return impl_->save(sequence, path); });
}

Result<SequenceId> Engine::restore(const std::string& path) {
  return entered(*impl_, [&] { return impl_->restore(path); });
}

Status Engine::save_prefixes(const std::string& path) const {
  return entered(*impl_, [&] { return impl_->cache->save_prefixes(path, impl_->identity()); });
}

Result<int64_t> Engine::restore_prefixes(const std::string& path) {
  return entered(*impl_, [&] { return impl_->cache->restore_prefixes(path, impl_->identity()); });
}

void Engine::forget_prefixes() noexcept {
  const std::lock_guard turn(impl_->turnstile);
  impl_->cache->forget_prefixes();
}

void Engine::forget_prefixes(std::string_view salt) noexcept {
  const std::lock_guard turn(impl_->turnstile);
  impl_->cache->forget_prefixes(salt);
}

size_t Engine::cache_bytes_needed(int n_tokens) const noexcept { return impl_->cache->bytes_needed(n_tokens); }

Engine::Engine(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Engine::~Engine() = default;

int Engine::n_sequences() const noexcept {
  const std::lock_guard turn(impl_->turnstile);
  return impl_->scheduler->n_sequences();
}
const Model& Engine::model() const noexcept { return *impl_->model; }
int Engine::n_ctx() const noexcept { return impl_->options.n_ctx; }
int Engine::n_threads() const noexcept { return impl_->pool->n_threads(); }
const char* Engine::isa() const noexcept { return to_string(impl_->isa); }

CacheStats Engine::cache_stats() const noexcept {
  const std::lock_guard turn(impl_->turnstile);
  return impl_->cache->stats();
}

MemoryStats Engine::memory_stats() const noexcept {
  const std::lock_guard turn(impl_->turnstile);
  return impl_->memory();
}

MemoryStats Engine::Impl::memory() const noexcept {
  MemoryStats stats = forward->memory();
  stats.weights_bytes = model->parts().weights.arena.size_bytes();
  stats.sampler_bytes = sampler->size_bytes();
  stats.tokenizer_bytes = model->parts().tokenizer_bytes;
  stats.limit_bytes = options.memory_limit_bytes;
  if (!cache) return stats;
  for (int i = 0; i < options.max_sequences; ++i)
    stats.sequence_bytes += scheduler->slot(i).ids.capacity() * sizeof(int32_t);
  const CacheStats cached = cache->stats();
  stats.cache_bytes = cached.reserved_bytes + cached.table_bytes;
  return stats;
}

Engine::Impl& Engine::impl() noexcept { return *impl_; }

}  // namespace decant
