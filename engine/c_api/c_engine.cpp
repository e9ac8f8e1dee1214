// SPDX-License-Identifier: Apache-2.0
// Engines in C: opening, and what they tell of themselves.
#include "engine/c_api/boundary.h"
#include "engine/c_api/convert.h"
#include "engine/c_api/handles.h"
#include "engine/engine_impl.h"

using namespace decant;
using namespace decant::c_api;

namespace {

Status hand_out(Result<std::unique_ptr<Engine>> made, const EngineOptions& options, decant_engine** engine) {
  if (!made) return made.error();
  auto out = std::make_unique<decant_engine>();
  out->engine = std::move(*made);
  out->model.model = out->engine->impl().model;
  out->model.lent = true;
  out->step.reserve(static_cast<size_t>(options.max_sequences));
  *engine = out.release();
  return {};
}

decant_memory_stats to_c(const MemoryStats& stats) {
  decant_memory_stats out = {};
  out.struct_size = sizeof out;
  out.weights_bytes = stats.weights_bytes;
  out.activation_bytes = stats.activation_bytes;
  out.attention_bytes = stats.attention_bytes;
  out.logits_bytes = stats.logits_bytes;
  out.sampler_bytes = stats.sampler_bytes;
  out.tokenizer_bytes = stats.tokenizer_bytes;
  out.sequence_bytes = stats.sequence_bytes;
  out.cache_bytes = stats.cache_bytes;
  out.limit_bytes = stats.limit_bytes;
  out.total_bytes = stats.total_bytes();
  return out;
}

decant_cache_stats to_c(const CacheStats& stats) {
  decant_cache_stats out = {};
  out.struct_size = sizeof out;
  out.limit_bytes = stats.limit_bytes;
  out.reserved_bytes = stats.reserved_bytes;
  out.used_bytes = stats.used_bytes;
  out.unique_bytes = stats.unique_bytes;
  out.shared_bytes = stats.shared_bytes;
  out.prefix_bytes = stats.prefix_bytes;
  out.free_bytes = stats.free_bytes;
  out.sink_bytes = stats.sink_bytes;
  out.table_bytes = stats.table_bytes;
  out.n_blocks_used = stats.n_blocks_used;
  out.n_blocks_shared = stats.n_blocks_shared;
  out.n_blocks_free = stats.n_blocks_free;
  out.n_sequences = stats.n_sequences;
  out.n_tokens = stats.n_tokens;
  out.n_prefix_nodes = stats.prefixes.n_nodes;
  out.n_prefix_tokens = stats.prefixes.n_tokens;
  out.n_prefix_lookups = stats.prefixes.n_lookups;
  out.n_prefix_hits = stats.prefixes.n_hits;
  out.n_prefix_hit_tokens = stats.prefixes.n_hit_tokens;
  out.n_prefix_asked_tokens = stats.prefixes.n_asked_tokens;
  out.n_prefix_evicted_blocks = stats.prefixes.n_evicted_blocks;
  return out;
}

}  // namespace

extern "C" {

decant_status decant_engine_open(const char* path, const decant_engine_options* options,
                                 const decant_model_options* model_options, decant_engine** engine,
                                 decant_error* error) {
  return guarded(error, {result(engine, "engine"), given(path, "path")}, [&]() -> Status {
    const Result<EngineOptions> in = engine_options(options);
    if (!in) return in.error();
    const Result<ModelOptions> model_in = c_api::model_options(model_options);
    if (!model_in) return model_in.error();
    return hand_out(Engine::open(path, *in, *model_in), *in, engine);
  });
}

decant_status decant_engine_create(const decant_model* model, const decant_engine_options* options,
                                   decant_engine** engine, decant_error* error) {
  return guarded(error, {result(engine, "engine"), handle(model, "model")}, [&]() -> Status {
    const Result<EngineOptions> in = engine_options(options);
    return in ? hand_out(Engine::create(model->model, *in), *in, engine) : in.error();
  });
}

void decant_engine_free(decant_engine** engine) { free_handle(engine); }

const decant_model* decant_engine_get_model(const decant_engine* engine) {
  return engine != nullptr && engine->kind == decant_engine::kKind ? &engine->model : nullptr;
}

decant_status decant_engine_get_info(const decant_engine* engine, decant_engine_info* info, size_t struct_size,
                                     decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(info, "info")}, [&] {
    decant_engine_info out = {};
    out.struct_size = sizeof out;
    out.isa = engine->engine->isa();
    out.n_ctx = engine->engine->n_ctx();
    out.n_threads = engine->engine->n_threads();
    out.n_sequences = engine->engine->n_sequences();
    return fill_struct(out, info, struct_size, "info");
  });
}

decant_status decant_engine_get_memory_stats(const decant_engine* engine, decant_memory_stats* stats,
                                             size_t struct_size, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(stats, "stats")},
                 [&] { return fill_struct(to_c(engine->engine->memory_stats()), stats, struct_size, "stats"); });
}

decant_status decant_engine_get_cache_stats(const decant_engine* engine, decant_cache_stats* stats, size_t struct_size,
                                            decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(stats, "stats")},
                 [&] { return fill_struct(to_c(engine->engine->cache_stats()), stats, struct_size, "stats"); });
}

decant_status decant_engine_cache_bytes_needed(const decant_engine* engine, int32_t n_tokens, size_t* size_bytes,
                                               decant_error* error) {
  const Check counts = {n_tokens >= 0, "n_tokens", "is negative"};
  return guarded(error, {result(size_bytes, "size_bytes"), handle(engine, "engine"), counts}, [&]() -> Status {
    *size_bytes = engine->engine->cache_bytes_needed(n_tokens);
    return {};
  });
}

decant_status decant_engine_save_prefixes(const decant_engine* engine, const char* path, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(path, "path")},
                 [&] { return engine->engine->save_prefixes(path); });
}

decant_status decant_engine_restore_prefixes(decant_engine* engine, const char* path, int64_t* n_tokens,
                                             decant_error* error) {
  if (n_tokens != nullptr) *n_tokens = 0;
  return guarded(error, {handle(engine, "engine"), given(path, "path")}, [&]() -> Status {
    const Result<int64_t> known = engine->engine->restore_prefixes(path);
    if (!known) return known.error();
    if (n_tokens != nullptr) *n_tokens = *known;
    return {};
  });
}

decant_status decant_engine_forget_prefixes(decant_engine* engine, const char* salt, size_t n_salt_bytes,
                                            decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&]() -> Status {
    if (salt == nullptr) {
      engine->engine->forget_prefixes();
      return {};
    }
    const Result<std::string_view> in = text_in(salt, n_salt_bytes, "salt");
    if (!in) return in.error();
    engine->engine->forget_prefixes(*in);
    return {};
  });
}

}  // extern "C"
