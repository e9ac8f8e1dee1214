// SPDX-License-Identifier: Apache-2.0
#include "engine/c_api/convert.h"

#include <chrono>
#include <cstring>

#include "decant/detail/format.h"

#include "engine/c_api/boundary.h"
#include "engine/c_api/handles.h"
#include "engine/c_api/profile_view.h"

namespace decant::c_api {

namespace {

using Clock = std::chrono::steady_clock;

// Numbers go through as they are.
static_assert(DECANT_NUMERICS_FAST == static_cast<int32_t>(Numerics::fast));
static_assert(DECANT_KV_F16 == static_cast<int32_t>(KvType::f16));
static_assert(DECANT_KV_Q8 == static_cast<int32_t>(KvType::q8));
static_assert(DECANT_KV_Q4_PLAIN == static_cast<int32_t>(KvType::q4_plain));
static_assert(DECANT_LOG_INFO == static_cast<int32_t>(LogLevel::info));
static_assert(DECANT_LOG_ERROR == static_cast<int32_t>(LogLevel::error));

Error invalid(const char* name, int32_t value) {
  return {ErrorCode::invalid_argument, detail::format("{}: there is no value {}", name, value)};
}

template <typename Enum>
Status read_enum(int32_t value, Enum last, const char* name, Enum& out) {
  if (value < 0 || value > static_cast<int32_t>(last)) return invalid(name, value);
  out = static_cast<Enum>(value);
  return {};
}

Status read_reserved(int32_t value, const char* name) {
  if (value != 0) return Error{ErrorCode::invalid_argument, detail::format("{}.reserved is {}, not 0", name, value)};
  return {};
}

/// Empty for none, and for a time that the clock won't reach.
std::optional<Clock::time_point> deadline_in(int64_t timeout_ms) {
  constexpr int64_t kNever = int64_t{1000} * 60 * 60 * 24 * 365 * 100;
  if (timeout_ms < 0 || timeout_ms > kNever) return std::nullopt;
  return Clock::now() + std::chrono::milliseconds(timeout_ms);
}

/// A sink that hands on a NUL-terminated copy, cut to what fits: a message about memory must not need any.
LogSink log_sink(decant_log_callback callback, void* user) {
  if (callback == nullptr) return {};
  return [callback, user](LogLevel level, std::string_view message) {
    char text[2048];
    const size_t n = std::min(message.size(), sizeof text - 1);
    std::memcpy(text, message.data(), n);
    text[n] = '\0';
    callback(user, static_cast<int32_t>(level), text, n);
  };
}

}  // namespace

Result<std::stop_token> stop_token(const decant_stop_source* stop) {
  if (stop == nullptr) return std::stop_token();
  if (stop->kind != decant_stop_source::kKind)
    return Error{ErrorCode::invalid_argument, "stop is no live handle of this type"};
  return stop->source.get_token();
}

decant_model_options default_model_options() noexcept {
  const ModelOptions from;
  decant_model_options out = {};
  out.struct_size = sizeof out;
  out.numerics = static_cast<int32_t>(from.numerics);
  out.n_threads = from.n_threads;
  out.map_packed = from.map_packed ? 1 : 0;
  out.memory_limit_bytes = from.memory_limit_bytes;
  out.timeout_ms = -1;
  return out;
}

Result<ModelOptions> model_options(const decant_model_options* options) {
  const Result<decant_model_options> in = read_struct(options, default_model_options(), "decant_model_options");
  if (!in) return in.error();
  ModelOptions out;
  if (Status bad = read_reserved(in->reserved, "decant_model_options"); !bad) return bad.error();
  if (Status bad = read_enum(in->numerics, Numerics::fast, "numerics", out.numerics); !bad) return bad.error();
  Result<std::stop_token> stop = stop_token(in->stop);
  if (!stop) return stop.error();
  out.n_threads = in->n_threads;
  out.map_packed = in->map_packed != 0;
  out.memory_limit_bytes = in->memory_limit_bytes;
  out.stop = std::move(*stop);
  out.deadline = deadline_in(in->timeout_ms);
  if (in->progress != nullptr)
    out.progress = [callback = in->progress, user = in->progress_user](size_t done, size_t total) {
      callback(user, done, total);
    };
  out.log = log_sink(in->log, in->log_user);
  return out;
}

decant_engine_options default_engine_options() noexcept {
  decant_engine_options out = {};
  const CacheOptions cache;
  out.struct_size = sizeof out;
  const EngineOptions from;
  out.n_threads = from.n_threads;
  out.pin_threads = from.pin_threads ? 1 : 0;
  out.n_ctx = from.n_ctx;
  out.max_sequences = from.max_sequences;
  out.max_step_tokens = from.max_step_tokens;
  out.prefill_chunk = from.prefill_chunk;
  out.step_target_ms = from.step_target_ms;
  out.max_logit_rows = from.max_logit_rows;
  out.cache_k_type = static_cast<int32_t>(cache.k_type);
  out.cache_v_type = static_cast<int32_t>(cache.v_type);
  out.cache_block_tokens = cache.block_tokens;
  out.cache_rollback_tokens = cache.rollback_tokens;
  out.cache_limit_bytes = cache.limit_bytes;
  out.cache_prefix_bytes = cache.prefix_bytes;
  out.memory_limit_bytes = from.memory_limit_bytes;
  return out;
}

Result<EngineOptions> engine_options(const decant_engine_options* options) {
  const Result<decant_engine_options> in = read_struct(options, default_engine_options(), "decant_engine_options");
  if (!in) return in.error();
  EngineOptions out;
  if (Status bad = read_enum(in->cache_k_type, KvType::q4_plain, "cache_k_type", out.cache.k_type); !bad)
    return bad.error();
  if (Status bad = read_enum(in->cache_v_type, KvType::q4_plain, "cache_v_type", out.cache.v_type); !bad)
    return bad.error();
  if (in->isa != nullptr) out.isa = in->isa;
  out.n_threads = in->n_threads;
  out.pin_threads = in->pin_threads != 0;
  out.n_ctx = in->n_ctx;
  out.max_sequences = in->max_sequences;
  out.max_step_tokens = in->max_step_tokens;
  out.prefill_chunk = in->prefill_chunk;
  out.step_target_ms = in->step_target_ms;
  out.max_logit_rows = in->max_logit_rows;
  out.cache.block_tokens = in->cache_block_tokens;
  out.cache.rollback_tokens = in->cache_rollback_tokens;
  out.cache.limit_bytes = in->cache_limit_bytes;
  out.cache.prefix_bytes = in->cache_prefix_bytes;
  out.memory_limit_bytes = in->memory_limit_bytes;
  out.on_step = step_observer(in->on_step, in->on_step_user);
  out.log = log_sink(in->log, in->log_user);
  return out;
}

decant_sampling_params to_c(const SamplingParams& params) noexcept {
  decant_sampling_params out = {};
  out.struct_size = sizeof out;
  out.temperature = params.temperature;
  out.top_k = params.top_k;
  out.top_p = params.top_p;
  out.min_p = params.min_p;
  out.typical_p = params.typical_p;
  out.epsilon_cutoff = params.epsilon_cutoff;
  out.eta_cutoff = params.eta_cutoff;
  out.repetition_penalty = params.repetition_penalty;
  out.seed = params.seed;
  out.no_repeat_ngram_size = params.no_repeat_ngram_size;
  return out;
}

decant_sampling_params default_sampling_params() noexcept { return to_c(SamplingParams()); }

Result<SamplingParams> sampling_params(const decant_sampling_params* params) {
  const Result<decant_sampling_params> in = read_struct(params, default_sampling_params(), "decant_sampling_params");
  if (!in) return in.error();
  if (Status bad = read_reserved(in->reserved, "decant_sampling_params"); !bad) return bad.error();
  SamplingParams out;
  out.temperature = in->temperature;
  out.top_k = in->top_k;
  out.top_p = in->top_p;
  out.min_p = in->min_p;
  out.typical_p = in->typical_p;
  out.epsilon_cutoff = in->epsilon_cutoff;
  out.eta_cutoff = in->eta_cutoff;
  out.repetition_penalty = in->repetition_penalty;
  out.seed = in->seed;
  out.no_repeat_ngram_size = in->no_repeat_ngram_size;
  return out;
}

decant_generation_options default_generation_options() noexcept {
  const GenerationOptions from;
  decant_generation_options out = {};
  out.struct_size = sizeof out;
  out.max_new_tokens = from.max_new_tokens;
  out.ignore_end = from.ignore_end ? 1 : 0;
  out.top_logprobs = from.top_logprobs;
  out.priority = from.priority;
  out.timeout_ms = -1;
  return out;
}

Result<GenerationOptions> generation_options(const decant_generation_options* options) {
  const Result<decant_generation_options> in =
      read_struct(options, default_generation_options(), "decant_generation_options");
  if (!in) return in.error();
  Result<SamplingParams> sampling = sampling_params(in->sampling);
  if (!sampling) return sampling.error();
  Result<std::stop_token> stop = stop_token(in->stop);
  if (!stop) return stop.error();
  GenerationOptions out;
  out.sampling = *sampling;
  out.max_new_tokens = in->max_new_tokens;
  out.ignore_end = in->ignore_end != 0;
  out.top_logprobs = in->top_logprobs;
  out.priority = in->priority;
  out.stop = std::move(*stop);
  out.deadline = deadline_in(in->timeout_ms);
  if (in->stop_strings == nullptr && in->n_stop_strings > 0)
    return Error{ErrorCode::invalid_argument, "stop_strings is NULL, n_stop_strings isn't 0"};
  for (size_t i = 0; i < in->n_stop_strings; ++i) {
    const decant_text& text = in->stop_strings[i];
    const Result<std::string_view> stop_string = text_in(text.data, text.size_bytes, "a stop string");
    if (!stop_string) return stop_string.error();
    out.stop_strings.emplace_back(*stop_string);
  }
  return out;
}

decant_sequence_options default_sequence_options() noexcept {
  decant_sequence_options out = {};
  const SequenceOptions from;
  out.struct_size = sizeof out;
  out.share_prefix = from.share_prefix ? 1 : 0;
  out.prefix_priority = from.prefix_priority;
  out.n_prefix_salt_bytes = DECANT_NUL_TERMINATED;
  out.recent_window = from.recent_window;
  out.n_sinks = from.n_sinks;
  return out;
}

Result<SequenceOptions> sequence_options(const decant_sequence_options* options) {
  const Result<decant_sequence_options> in =
      read_struct(options, default_sequence_options(), "decant_sequence_options");
  if (!in) return in.error();
  const Result<std::string_view> salt = optional_text_in(in->prefix_salt, in->n_prefix_salt_bytes, "prefix_salt");
  if (!salt) return salt.error();
  SequenceOptions out;
  out.share_prefix = in->share_prefix != 0;
  out.prefix_salt = *salt;
  out.prefix_priority = in->prefix_priority;
  out.recent_window = in->recent_window;
  out.n_sinks = in->n_sinks;
  return out;
}

decant_request default_request() noexcept {
  decant_request out = {};
  const Request from;
  out.struct_size = sizeof out;
  out.n_prompt_text_bytes = DECANT_NUL_TERMINATED;
  out.all_logits = from.all_logits ? 1 : 0;
  out.keep = from.keep ? 1 : 0;
  out.detokenize = from.detokenize ? 1 : 0;
  return out;
}

Result<Request> request(const decant_request* request) {
  const Result<decant_request> in = read_struct(request, default_request(), "decant_request");
  if (!in) return in.error();
  if (Status bad = read_reserved(in->reserved, "decant_request"); !bad) return bad.error();
  const Result<std::span<const int32_t>> prompt = ids_in(in->prompt, in->n_prompt, "prompt");
  if (!prompt) return prompt.error();
  const Result<std::string_view> text = optional_text_in(in->prompt_text, in->n_prompt_text_bytes, "prompt_text");
  if (!text) return text.error();
  Result<GenerationOptions> generation = generation_options(in->generation);
  if (!generation) return generation.error();
  Result<SequenceOptions> sequence = sequence_options(in->sequence);
  if (!sequence) return sequence.error();
  Request out;
  static_cast<GenerationOptions&>(out) = std::move(*generation);
  static_cast<SequenceOptions&>(out) = std::move(*sequence);
  out.prompt.assign(prompt->begin(), prompt->end());
  out.prompt_text = *text;
  out.all_logits = in->all_logits != 0;
  out.keep = in->keep != 0;
  out.detokenize = in->detokenize != 0;
  return out;
}

}  // namespace decant::c_api
