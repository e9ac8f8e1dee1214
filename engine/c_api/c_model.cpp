// SPDX-License-Identifier: Apache-2.0
// Models and their tokenizers in C.
#include "decant/detail/format.h"
#include "decant/model.h"

#include "engine/c_api/boundary.h"
#include "engine/c_api/convert.h"
#include "engine/c_api/handles.h"

using namespace decant;
using namespace decant::c_api;

namespace {

/// The tokenizer, if it knows the id.
Result<const Tokenizer*> tokenizer_of(const decant_model* model, int32_t id) {
  Result<const Tokenizer*> tokenizer = model->model->tokenizer();
  if (tokenizer && (id < 0 || id >= (*tokenizer)->vocab_size()))
    return Error{ErrorCode::invalid_argument,
                 detail::format("there is no token {}: ids are below {}", id, (*tokenizer)->vocab_size())};
  return tokenizer;
}

decant_model_info to_c(const Model& model) {
  const ModelInfo& info = model.info();
  const Result<const Tokenizer*> tokenizer = model.tokenizer();
  decant_model_info out = {};
  out.struct_size = sizeof out;
  out.path = info.path.c_str();
  out.format = info.format.c_str();
  out.architecture = info.architecture.c_str();
  out.name = info.name.c_str();
  out.fingerprint = info.fingerprint.c_str();
  out.n_layers = info.n_layers;
  out.d_model = info.d_model;
  out.d_ff = info.d_ff;
  out.n_heads = info.n_heads;
  out.n_kv_heads = info.n_kv_heads;
  out.head_dim = info.head_dim;
  out.vocab_size = info.vocab_size;
  out.n_ctx = info.n_ctx;
  out.window = info.window;
  out.tied_head = info.tied_head ? 1 : 0;
  out.has_chat_template = info.has_chat_template ? 1 : 0;
  out.has_tokenizer = tokenizer ? 1 : 0;
  out.tokenizer_vocab_size = tokenizer ? (*tokenizer)->vocab_size() : 0;
  out.numerics = static_cast<int32_t>(model.numerics());
  out.n_params = info.n_params;
  out.file_bytes = info.file_bytes;
  out.packed_bytes = info.packed_bytes;
  out.end_ids = model.end_ids().data();
  out.n_end_ids = model.end_ids().size();
  return out;
}

decant_generation_defaults to_c(const GenerationDefaults& defaults) {
  decant_generation_defaults out = {};
  out.struct_size = sizeof out;
  out.do_sample = defaults.do_sample ? static_cast<int32_t>(*defaults.do_sample) : -1;
  out.temperature = defaults.temperature.value_or(-1.0F);
  out.top_p = defaults.top_p.value_or(-1.0F);
  out.min_p = defaults.min_p.value_or(-1.0F);
  out.typical_p = defaults.typical_p.value_or(-1.0F);
  out.repetition_penalty = defaults.repetition_penalty.value_or(-1.0F);
  out.top_k = defaults.top_k.value_or(-1);
  out.no_repeat_ngram_size = defaults.no_repeat_ngram_size.value_or(-1);
  return out;
}

decant_load_times to_c(const LoadTimes& times) {
  decant_load_times out = {};
  out.struct_size = sizeof out;
  out.metadata_ns = times.metadata_ns;
  out.tokenizer_ns = times.tokenizer_ns;
  out.weights_ns = times.weights_ns;
  out.n_threads = times.n_threads;
  out.mapped = times.mapped ? 1 : 0;
  return out;
}

}  // namespace

extern "C" {

decant_status decant_model_open(const char* path, const decant_model_options* options, decant_model** model,
                                decant_error* error) {
  return guarded(error, {result(model, "model"), given(path, "path")}, [&]() -> Status {
    const Result<ModelOptions> in = model_options(options);
    if (!in) return in.error();
    auto out = std::make_unique<decant_model>();
    Result<std::shared_ptr<const Model>> opened = Model::open(path, *in);
    if (!opened) return opened.error();
    out->model = std::move(*opened);
    *model = out.release();
    return {};
  });
}

void decant_model_free(decant_model** model) {
  if (model != nullptr && *model != nullptr && (*model)->lent)
    *model = nullptr;
  else
    free_handle(model);
}

decant_status decant_model_get_info(const decant_model* model, decant_model_info* info, size_t struct_size,
                                    decant_error* error) {
  return guarded(error, {handle(model, "model"), given(info, "info")},
                 [&] { return fill_struct(to_c(*model->model), info, struct_size, "info"); });
}

decant_status decant_model_get_generation_defaults(const decant_model* model, decant_generation_defaults* defaults,
                                                   size_t struct_size, decant_error* error) {
  return guarded(error, {handle(model, "model"), given(defaults, "defaults")}, [&] {
    return fill_struct(to_c(model->model->generation_defaults()), defaults, struct_size, "defaults");
  });
}

decant_status decant_model_get_load_times(const decant_model* model, decant_load_times* times, size_t struct_size,
                                          decant_error* error) {
  return guarded(error, {handle(model, "model"), given(times, "times")},
                 [&] { return fill_struct(to_c(model->model->load_times()), times, struct_size, "times"); });
}

decant_status decant_model_encode(const decant_model* model, const char* text, size_t n_text_bytes, int32_t add_special,
                                  int32_t* ids, size_t capacity, size_t* n_ids, decant_error* error) {
  return guarded(error, {result(n_ids, "n_ids"), handle(model, "model")}, [&]() -> Status {
    const Result<std::string_view> in = text_in(text, n_text_bytes, "text");
    if (!in) return in.error();
    const Result<const Tokenizer*> tokenizer = model->model->tokenizer();
    if (!tokenizer) return tokenizer.error();
    const Result<std::vector<int32_t>> encoded = (*tokenizer)->encode(*in, {.add_special = add_special != 0});
    return encoded ? ids_out(*encoded, ids, capacity, n_ids) : encoded.error();
  });
}

decant_status decant_model_decode(const decant_model* model, const int32_t* ids, size_t n_ids, int32_t skip_special,
                                  char* text, size_t capacity, size_t* n_text_bytes, decant_error* error) {
  return guarded(error, {result(n_text_bytes, "n_text_bytes"), handle(model, "model")}, [&]() -> Status {
    const Result<std::span<const int32_t>> in = ids_in(ids, n_ids, "ids");
    if (!in) return in.error();
    const Result<const Tokenizer*> tokenizer = model->model->tokenizer();
    if (!tokenizer) return tokenizer.error();
    return text_out((*tokenizer)->decode(*in, skip_special != 0), text, capacity, n_text_bytes);
  });
}

decant_status decant_model_token_bytes(const decant_model* model, int32_t id, char* bytes, size_t capacity,
                                       size_t* n_bytes, decant_error* error) {
  return guarded(error, {result(n_bytes, "n_bytes"), handle(model, "model")}, [&]() -> Status {
    const Result<const Tokenizer*> tokenizer = tokenizer_of(model, id);
    if (!tokenizer) return tokenizer.error();
    std::string out;
    (*tokenizer)->append_bytes(id, out);
    return text_out(out, bytes, capacity, n_bytes);
  });
}

decant_status decant_model_token_entry(const decant_model* model, int32_t id, char* entry, size_t capacity,
                                       size_t* n_bytes, decant_error* error) {
  return guarded(error, {result(n_bytes, "n_bytes"), handle(model, "model")}, [&]() -> Status {
    const Result<const Tokenizer*> tokenizer = tokenizer_of(model, id);
    return tokenizer ? text_out((*tokenizer)->entry(id), entry, capacity, n_bytes) : tokenizer.error();
  });
}

decant_status decant_model_token_id(const decant_model* model, const char* entry, size_t n_entry_bytes, int32_t* id,
                                    decant_error* error) {
  return guarded(error, {result(id, "id"), handle(model, "model")}, [&]() -> Status {
    const Result<std::string_view> in = text_in(entry, n_entry_bytes, "entry");
    if (!in) return in.error();
    const Result<const Tokenizer*> tokenizer = model->model->tokenizer();
    if (!tokenizer) return tokenizer.error();
    *id = (*tokenizer)->id_of(*in);
    return {};
  });
}

decant_status decant_model_token_is_special(const decant_model* model, int32_t id, int32_t* is_special,
                                            decant_error* error) {
  return guarded(error, {result(is_special, "is_special"), handle(model, "model")}, [&]() -> Status {
    const Result<const Tokenizer*> tokenizer = tokenizer_of(model, id);
    if (!tokenizer) return tokenizer.error();
    *is_special = (*tokenizer)->is_special(id) ? 1 : 0;
    return {};
  });
}

}  // extern "C"
