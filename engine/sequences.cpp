// SPDX-License-Identifier: Apache-2.0

// What an embedder does to sequences between steps.

#include <algorithm>
#include <limits>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "engine/engine_impl.h"
#include "engine/sequence_state.h"

namespace decant {

namespace {

constexpr int kEndless = std::numeric_limits<int>::max() - (1 << 20);  // positions are ints

/// Tokens at which a sequence of n_tokens ends that may grow by max_new_tokens.
int limit_of(const Request& request, int n_tokens, int max_new_tokens, int n_ctx) {
  const int most = request.recent_window > 0 ? kEndless : n_ctx;
  return max_new_tokens < 0 || max_new_tokens > most - n_tokens ? most : n_tokens + max_new_tokens;
}

}  // namespace

Result<Sequence*> Engine::Impl::find(SequenceId id) const {
  Sequence* const found = id > 0 ? scheduler->find(id) : nullptr;
  if (found == nullptr) return Error{ErrorCode::invalid_argument, detail::format("sequence {} is not alive", id)};
  return found;
}

Status Engine::Impl::check_submitted(SequenceId id) const {
  const Result<Sequence*> found = find(id);
  if (!found) return found.error();
  if ((*found)->of_session)
    return Error{ErrorCode::invalid_argument, detail::format("sequence {} is a session's: ask the session", id)};
  return {};
}

Status Engine::Impl::check_ids(std::span<const int32_t> ids) const {
  for (const int32_t id : ids)
    if (id < 0 || id >= model->info().vocab_size)
      return Error{ErrorCode::invalid_argument,
                   detail::format("token id {} is outside the vocabulary of {}", id, model->info().vocab_size)};
  return {};
}

Status Engine::Impl::check_window(const Request& request) const {
  if (request.recent_window == 0) return {};
  if (learned_positions)
    return Error{ErrorCode::unsupported, "this model learned its positions: a text cannot go on past them"};
  if (request.n_sinks < 1 || request.n_sinks > cache::kMaxSinks)
    return Error{ErrorCode::invalid_argument,
                 detail::format("n_sinks is {}; 1 to {} is possible", request.n_sinks, cache::kMaxSinks)};
  if (request.recent_window < 0 || request.recent_window > options.n_ctx - request.n_sinks - kSlideTokens)
    return Error{ErrorCode::invalid_argument,
                 detail::format("recent_window is {}; with {} sinks and a context of {}, 1 to {} is possible",
                                request.recent_window, request.n_sinks, options.n_ctx,
                                options.n_ctx - request.n_sinks - kSlideTokens)};
  return {};
}

Status Engine::Impl::check_options(const GenerationOptions& wanted, bool detokenize) const {
  if (Status valid = sampler::validate(wanted.sampling); !valid) return valid;
  if (wanted.top_logprobs < 0 || wanted.top_logprobs > kMaxTopLogprobs)
    return Error{ErrorCode::invalid_argument,
                 detail::format("top_logprobs is {}; 0 to {} is possible", wanted.top_logprobs, kMaxTopLogprobs)};
  if (wanted.stop_strings.empty()) return {};
  if (!detokenize) return Error{ErrorCode::invalid_argument, "stop strings need detokenize"};
  if (!model->parts().tokenizer) return model->parts().tokenizer_error;
  return {};
}

Status Engine::Impl::check_request(const Request& request) const {
  if (request.prompt.empty()) return Error{ErrorCode::invalid_argument, "the prompt is empty"};
  if (request.prompt.size() > static_cast<size_t>(options.n_ctx))
    return Error{ErrorCode::invalid_argument, detail::format("the prompt has {} tokens; the context holds {}",
                                                             request.prompt.size(), options.n_ctx)};
  if (Status known = check_ids(request.prompt); !known) return known;
  if (Status valid = check_options(request, request.detokenize); !valid) return valid;
  if (request.prefix_priority < 0 || request.prefix_priority > 100)
    return Error{ErrorCode::invalid_argument,
                 detail::format("prefix_priority is {}; 0 to 100 is possible", request.prefix_priority)};
  return check_window(request);
}

Result<std::vector<int32_t>> Engine::Impl::encode(std::string_view text, bool first) const {
  if (!model->parts().tokenizer) return model->parts().tokenizer_error;
  return model->parts().tokenizer->encode(text, {.add_special = first});
}

Status Engine::Impl::encode_prompt(Request& request) const {
  if (!request.prompt.empty() || request.prompt_text.empty()) return {};
  Result<std::vector<int32_t>> ids = encode(request.prompt_text, /*first=*/true);
  if (!ids) return ids.error();
  request.prompt = std::move(*ids);
  return {};
}

// Slots that a sequence with n_kept of them, n_computed positions on, takes beside those until it has n_tokens or, if
// it goes on, its limit. The last token of all is never computed.
int Engine::Impl::most_growth(const Request& request, int n_tokens, int limit, int n_computed, int n_kept) const {
  const int more = std::max(n_tokens, limit - 1) - n_computed;
  if (request.recent_window == 0) return std::max(more, 0);
  const int most_kept = request.n_sinks + request.recent_window + 2 * kSlideTokens + 2 * options.cache.block_tokens;
  return std::clamp(more, 0, std::max(most_kept - n_kept, 0));
}

int Engine::Impl::growth_left(const Sequence& sequence) const {
  if (sequence.id == 0 || sequence.paused) return 0;
  return most_growth(sequence.request, sequence.n_tokens(), sequence.limit, sequence.n_computed, sequence.n_kept());
}

// What one more, or one of them that goes on, takes beside what all others may still take.
Result<Admission> Engine::Impl::admission(const Request& request, const Sequence* extended, int growth) const {
  std::vector<cache::KvGrowth> all;
  for (int i = 0; i < options.max_sequences; ++i) {
    const Sequence& sequence = scheduler->slot(i);
    const int left = &sequence == extended ? 0 : growth_left(sequence);
    if (left > 0) all.push_back({sequence.cache, left});
  }
  const Result<cache::KvCache::Forecast> others = cache->forecast(all, options.max_step_tokens);
  if (!others) return others.error();
  const cache::KvGrowth own{extended != nullptr ? extended->cache : cache::KvCache::kNewSequence, growth};
  const Result<cache::KvCache::Forecast> alone = cache->forecast(std::span(&own, 1), options.max_step_tokens);
  if (!alone) return alone.error();
  all.push_back(own);
  const Result<cache::KvCache::Forecast> together = cache->forecast(all, options.max_step_tokens);
  if (!together) return together.error();
  Admission admission;
  admission.needed_bytes = alone->needed_bytes;
  if (extended == nullptr && request.recent_window > 0) admission.needed_bytes += cache->sink_bytes(request.n_sinks);
  admission.available_bytes = others->available_bytes - std::min(others->available_bytes, others->needed_bytes);
  if (options.memory_limit_bytes == 0) admission.available_bytes = std::numeric_limits<size_t>::max();
  admission.fits =
      options.memory_limit_bytes == 0 || (together->fits && admission.needed_bytes <= admission.available_bytes);
  return admission;
}

Status Engine::Impl::take_in(const Request& request, const Sequence* extended, int growth, int n_slots) const {
  if (options.memory_limit_bytes == 0) return {};
  const Result<Admission> found = admission(request, extended, growth);
  if (!found) return found.error();
  if (found->fits) return {};
  const size_t limit = options.cache.limit_bytes;
  const cache::KvGrowth alone{cache::KvCache::kNewSequence, n_slots};
  const Result<cache::KvCache::Forecast> in_all = cache->forecast(std::span(&alone, 1), options.max_step_tokens);
  if (!in_all) return in_all.error();
  const size_t needed_bytes = std::max(found->needed_bytes, in_all->needed_bytes);
  if (needed_bytes > limit)
    return Error{ErrorCode::over_limit,
                 detail::format("needs up to {} bytes of cache; the memory limit leaves {}", needed_bytes, limit)};
  return Error{ErrorCode::cache_full, detail::format("needs up to {} bytes of cache; {} of {} are not spoken for",
                                                     found->needed_bytes, found->available_bytes, limit)};
}

Result<Admission> Engine::Impl::admit(Request&& request) const {
  if (Status encoded = encode_prompt(request); !encoded) return encoded.error();
  if (Status valid = check_request(request); !valid) return valid.error();
  const auto n_prompt = static_cast<int>(request.prompt.size());
  const int limit = limit_of(request, n_prompt, request.max_new_tokens, options.n_ctx);
  Result<Admission> found = admission(request, nullptr, most_growth(request, n_prompt, limit, 0, 0));
  if (found && scheduler->free_slot() == nullptr) found->fits = false;
  return found;
}

Engine::Impl::Generation Engine::Impl::prepare(const GenerationOptions& wanted, bool detokenize, int n_before) const {
  Generation generation;
  generation.top_logprobs.resize(static_cast<size_t>(std::min(wanted.top_logprobs, model->info().vocab_size)));
  generation.text.begin(detokenize ? model->parts().tokenizer.get() : nullptr, wanted.stop_strings, n_before);
  return generation;
}

void Engine::Impl::begin(Sequence& sequence, Generation&& generation, int n_prompt) noexcept {
  sequence.top_logprobs = std::move(generation.top_logprobs);
  sequence.text = std::move(generation.text);
  sequence.usage = {};
  sequence.usage.n_prompt_tokens = n_prompt;
  sequence.answered = false;
  sequence.begin_ns = sequence.last_ns = steady_ns();
}

Result<SequenceId> Engine::Impl::submit(Request&& request) {
  if (Status encoded = encode_prompt(request); !encoded) return encoded.error();
  if (Status valid = check_request(request); !valid) return valid.error();
  Sequence* const slot = scheduler->free_slot();
  if (slot == nullptr)
    return Error{ErrorCode::cache_full,
                 detail::format("{} sequences are alive, which is the limit", options.max_sequences)};

  Sequence sequence;
  const auto n_prompt = static_cast<int>(request.prompt.size());
  sequence.limit = limit_of(request, n_prompt, request.max_new_tokens, options.n_ctx);
  const int growth = most_growth(request, n_prompt, sequence.limit, 0, 0);
  if (Status taken = take_in(request, nullptr, growth, growth); !taken) return taken.error();
  sequence.ids = std::move(request.prompt);
  sequence.request = std::move(request);
  sequence.ids.reserve(static_cast<size_t>(std::min(sequence.limit, 2 * options.n_ctx)));
  begin(sequence, prepare(sequence.request, sequence.request.detokenize, n_prompt), n_prompt);
  Result<cache::SequenceIndex> place = cache->add_sequence();
  if (!place) return place.error();
  sequence.cache = *place;
  if (sequence.endless())
    if (Status kept = cache->keep_sinks(*place, sequence.request.n_sinks); !kept) {
      cache->release(*place);
      return kept.error();
    }
  if (sequence.request.share_prefix && !sequence.endless() && !sequence.request.all_logits) {
    publish_all();
    // The last token is computed in any case: its logits are wanted.
    sequence.prefix = cache->adopt_prefix(*place, sequence.request.prefix_salt,
                                          std::span(sequence.ids).first(static_cast<size_t>(n_prompt) - 1));
    sequence.n_computed = sequence.usage.n_cached_tokens = sequence.prefix.n_tokens;
  } else {
    sequence.prefix.why = PrefixMiss::off;
  }
  sequence.id = next_id++;
  *slot = std::move(sequence);
  return slot->id;
}

void Engine::Impl::pause(Sequence& sequence) {
  publish(sequence);
  sequence.paused = true;
}

void Engine::Impl::end(Sequence& sequence) {
  publish(sequence);
  cache->release(sequence.cache);
  sequence.id = 0;
  sequence.ids = {};
  sequence.of_session = false;
  sequence.session_cancel = nullptr;
  sequence.waiting.reset();
}

Status Engine::Impl::cancel(SequenceId id) {
  Result<Sequence*> sequence = find(id);
  if (!sequence) return sequence.error();
  end(**sequence);
  return {};
}

void Engine::Impl::publish(const Sequence& sequence) {
  if (!sequence.request.share_prefix || sequence.endless()) return;
  cache->publish_prefix(sequence.cache, sequence.request.prefix_salt, sequence.ids, sequence.request.prefix_priority);
}

// What those that are still growing know so far.
void Engine::Impl::publish_all() {
  for (int i = 0; i < options.max_sequences; ++i)
    if (const Sequence& sequence = scheduler->slot(i); sequence.id != 0) publish(sequence);
}

// Endless texts forget what their next token no longer attends to.
Status Engine::Impl::slide(const StepScope& scope) {
  for (int i = 0; i < options.max_sequences; ++i) {
    Sequence& sequence = scheduler->slot(i);
    if (!scope.has(sequence) || !sequence.endless()) continue;
    const int start = sequence.window_start(sequence.n_computed);
    if (start <= sequence.slid_to) continue;
    if (Status slid = cache->slide(sequence.cache, start); !slid) return slid;
    sequence.slid_to = start;
  }
  return {};
}

Result<SequenceId> Engine::Impl::fork(SequenceId id, const SamplingParams& sampling) {
  if (Status valid = sampler::validate(sampling); !valid) return valid.error();
  Result<Sequence*> original = find(id);
  if (!original) return original.error();
  Sequence* const slot = scheduler->free_slot();
  if (slot == nullptr)
    return Error{ErrorCode::cache_full,
                 detail::format("{} sequences are alive, which is the limit", options.max_sequences)};
  Sequence copy = **original;
  copy.ids.reserve((*original)->ids.capacity());
  copy.request.sampling = sampling;
  if (options.memory_limit_bytes != 0) {  // both grow by as much, and a shared end is copied
    const int growth = growth_left(copy);
    const int in_last_block = growth > 0 ? copy.n_computed % options.cache.block_tokens : 0;
    if (Status taken = take_in(copy.request, nullptr, growth + in_last_block, copy.n_computed + growth); !taken)
      return taken.error();
  }
  Result<cache::SequenceIndex> place = cache->fork(copy.cache);
  if (!place) return place.error();
  copy.cache = *place;
  copy.id = next_id++;
  copy.session_cancel = nullptr;
  copy.waiting.reset();
  *slot = std::move(copy);
  return slot->id;
}

// Makes the token after the first n_tokens the next one to compute; the cache may fall back further.
Status Engine::Impl::rewind(Sequence& sequence, int n_tokens) {
  if (sequence.n_computed <= n_tokens) return {};
  Result<int> kept = cache->truncate(sequence.cache, n_tokens);
  if (!kept) return kept.error();
  sequence.n_computed = *kept;
  return {};
}

Status Engine::Impl::truncate(SequenceId id, int n_tokens) {
  Result<Sequence*> found = find(id);
  if (!found) return found.error();
  Sequence& sequence = **found;
  const int least = std::max(1, sequence.slid_to + (sequence.slid_to > 0 ? sequence.request.recent_window : 0));
  if (n_tokens < least || n_tokens > sequence.n_tokens())
    return Error{ErrorCode::invalid_argument, detail::format("sequence {} can be cut to {} to {} tokens, not to {}", id,
                                                             least, sequence.n_tokens(), n_tokens)};
  if (Status rewound = rewind(sequence, n_tokens - 1); !rewound) return rewound;
  sequence.ids.resize(static_cast<size_t>(n_tokens - sequence.ids_begin));
  sequence.text.forget();
  return {};
}

Status Engine::Impl::remove(SequenceId id, int first, int n) {
  Result<Sequence*> found = find(id);
  if (!found) return found.error();
  Sequence& sequence = **found;
  if (learned_positions)
    return Error{ErrorCode::unsupported, "this model learned its positions: tokens cannot move to others"};
  if (sequence.endless() || first < 0 || n < 0 || first > sequence.n_computed || n > sequence.n_computed - first ||
      n == sequence.n_tokens())
    return Error{ErrorCode::invalid_argument,
                 detail::format("sequence {}: {} tokens from {} on cannot be taken out of {}", id, n, first,
                                sequence.n_computed)};
  Status removed = cache->remove(sequence.cache, first, n);
  if (!removed && removed.error().code != ErrorCode::non_finite) return removed;
  sequence.n_computed = cache->length(sequence.cache);
  sequence.ids.erase(sequence.ids.begin() + first, sequence.ids.begin() + first + n);
  sequence.text.forget();
  return removed;
}

Status Engine::Impl::extend(SequenceId id, std::span<const int32_t> ids, const GenerationOptions* wanted,
                            int max_new_tokens) {
  Result<Sequence*> found = find(id);
  if (!found) return found.error();
  Sequence& sequence = **found;
  if (!sequence.paused) return Error{ErrorCode::invalid_argument, detail::format("sequence {} has not ended", id)};
  if (Status known = check_ids(ids); !known) return known;
  if (wanted != nullptr)
    if (Status valid = check_options(*wanted, sequence.request.detokenize); !valid) return valid;
  const int64_t n_tokens = sequence.n_tokens() + static_cast<int64_t>(ids.size());
  const int most = sequence.endless() ? kEndless : options.n_ctx;
  if (n_tokens > most || (sequence.endless() && ids.size() > static_cast<size_t>(options.n_ctx)))
    return Error{ErrorCode::invalid_argument,
                 detail::format("sequence {} would have {} tokens; the context holds {}", id, n_tokens, options.n_ctx)};
  const int limit = limit_of(sequence.request, static_cast<int>(n_tokens), max_new_tokens, options.n_ctx);
  const int kept = sequence.n_kept();
  const int growth = most_growth(sequence.request, static_cast<int>(n_tokens), limit, sequence.n_computed, kept);
  if (Status taken = take_in(sequence.request, &sequence, growth, kept + growth); !taken) return taken;
  // Half of it is forgotten when it is full, and penalties look at the last n_ctx tokens.
  const size_t n_ctx = static_cast<size_t>(options.n_ctx);
  const size_t room =
      sequence.endless() ? std::max(2 * n_ctx, sequence.ids.size() + ids.size() + n_ctx) : static_cast<size_t>(limit);
  sequence.ids.reserve(room);
  GenerationOptions next = wanted != nullptr ? *wanted : sequence.request;
  Generation generation = prepare(next, sequence.request.detokenize, static_cast<int>(n_tokens));
  if (ids.empty())  // the last token's logits are wanted once more
    if (Status rewound = rewind(sequence, sequence.n_tokens() - 1); !rewound) return rewound;
  sequence.ids.insert(sequence.ids.end(), ids.begin(), ids.end());
  sequence.limit = limit;
  static_cast<GenerationOptions&>(sequence.request) = std::move(next);
  begin(sequence, std::move(generation), static_cast<int>(ids.size()));
  sequence.paused = false;
  return {};
}

Status Engine::Impl::set_sampling(SequenceId id, const SamplingParams& sampling) {
  const Result<Sequence*> sequence = find(id);
  if (!sequence) return sequence.error();
  if (Status valid = sampler::validate(sampling); !valid) return valid;
  (*sequence)->request.sampling = sampling;
  return {};
}

Result<SequenceInfo> Engine::Impl::info(SequenceId id) const {
  const Result<Sequence*> found = find(id);
  if (!found) return found.error();
  const Sequence& sequence = **found;
  return SequenceInfo{sequence.n_tokens(), sequence.n_computed,       sequence.paused,
                      sequence.prefix,     sequence.request.sampling, sequence.ids};
}

cache::SnapshotIdentity Engine::Impl::identity() const {
  const ModelInfo& info = model->info();
  return {info.name.empty() ? info.architecture : info.name, info.fingerprint, to_string(model->numerics())};
}

Status Engine::Impl::save(SequenceId id, const std::string& path) {
  const Result<Sequence*> sequence = find(id);
  if (!sequence) return sequence.error();
  const std::string state = encode_sequence(**sequence);
  return cache->save((*sequence)->cache, path, identity(), std::as_bytes(std::span(state)));
}

Result<SequenceId> Engine::Impl::restore(const std::string& path) {
  Sequence* const slot = scheduler->free_slot();
  if (slot == nullptr)
    return Error{ErrorCode::cache_full,
                 detail::format("{} sequences are alive, which is the limit", options.max_sequences)};
  Result<cache::RestoredSequence> restored = cache->restore(path, identity());
  if (!restored) return restored.error();
  const auto refuse = [&](Error error) {
    cache->release(restored->sequence);
    return error;
  };
  try {
    Result<Sequence> sequence = decode_sequence(restored->payload, path);
    if (!sequence) return refuse(sequence.error());
    if (Status known = check_ids(sequence->ids); !known) return refuse(known.error());
    if (Status valid = sampler::validate(sequence->request.sampling); !valid) return refuse(valid.error());
    if (Status valid = check_window(sequence->request); !valid) return refuse(valid.error());
    if (sequence->n_computed != cache->length(restored->sequence))
      return refuse(
          Error{ErrorCode::bad_format, detail::format("{}: {} tokens are said to be computed, the cache holds {}", path,
                                                      sequence->n_computed, cache->length(restored->sequence))});
    if (!sequence->endless() && sequence->n_tokens() > options.n_ctx)
      return refuse(Error{ErrorCode::invalid_argument, detail::format("{}: {} tokens; the context holds {}", path,
                                                                      sequence->n_tokens(), options.n_ctx)});
    if (options.memory_limit_bytes != 0) {
      const Result<Admission> left = admission(sequence->request, nullptr, 0);
      if (!left) return refuse(left.error());
      if (!left->fits)
        return refuse(
            Error{ErrorCode::cache_full, detail::format("{}: others may need the memory that it takes", path)});
    }
    sequence->cache = restored->sequence;
    sequence->request.keep = true;
    sequence->paused = true;
    sequence->prefix.why = PrefixMiss::off;
    sequence->id = next_id++;
    *slot = std::move(*sequence);
    return slot->id;
  } catch (const std::bad_alloc&) {
    cache->release(restored->sequence);
    throw;
  }
}

}  // namespace decant
