// SPDX-License-Identifier: Apache-2.0
// Sequences in C, for hosts with a loop of their own.
#include "engine/c_api/boundary.h"
#include "engine/c_api/convert.h"
#include "engine/c_api/handles.h"

using namespace decant;
using namespace decant::c_api;

namespace {

decant_sequence_info to_c(const SequenceInfo& info) {
  decant_sequence_info out = {};
  out.struct_size = sizeof out;
  out.n_tokens = info.n_tokens;
  out.n_computed = info.n_computed;
  out.paused = info.paused ? 1 : 0;
  out.n_prefix_tokens = info.prefix.n_tokens;
  out.n_prefix_known = info.prefix.n_known;
  out.prefix_miss = static_cast<int32_t>(info.prefix.why);
  return out;
}

Status set(const Result<SequenceId>& from, int64_t* to) {
  if (!from) return from.error();
  *to = *from;
  return {};
}

}  // namespace

extern "C" {

decant_status decant_engine_admit(const decant_engine* engine, const decant_request* request,
                                  decant_admission* admission, size_t struct_size, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(request, "request"), given(admission, "admission")},
                 [&]() -> Status {
                   const Result<Request> in = c_api::request(request);
                   if (!in) return in.error();
                   const Result<Admission> found = engine->engine->admit(*in);
                   if (!found) return found.error();
                   decant_admission out = {};
                   out.struct_size = sizeof out;
                   out.needed_bytes = found->needed_bytes;
                   out.available_bytes = found->available_bytes;
                   out.fits = found->fits ? 1 : 0;
                   return fill_struct(out, admission, struct_size, "admission");
                 });
}

decant_status decant_engine_submit(decant_engine* engine, const decant_request* request, int64_t* sequence,
                                   decant_error* error) {
  return guarded(error, {result(sequence, "sequence"), handle(engine, "engine"), given(request, "request")},
                 [&]() -> Status {
                   Result<Request> in = c_api::request(request);
                   return in ? set(engine->engine->submit(std::move(*in)), sequence) : in.error();
                 });
}

decant_status decant_engine_step(decant_engine* engine, const decant_stop_source* stop,
                                 const decant_step_report** report, decant_error* error) {
  return guarded(error, {result(report, "report"), handle(engine, "engine")}, [&]() -> Status {
    const Result<std::stop_token> token = stop_token(stop);
    if (!token) return token.error();
    const Result<StepReport> done = engine->engine->step(*token);
    if (!done) return done.error();
    *report = engine->step.assign(*done);
    return {};
  });
}

decant_status decant_engine_cancel(decant_engine* engine, int64_t sequence, decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&] { return engine->engine->cancel(sequence); });
}

decant_status decant_engine_fork(decant_engine* engine, int64_t sequence, const decant_sampling_params* sampling,
                                 int64_t* fork, decant_error* error) {
  return guarded(error, {result(fork, "fork"), handle(engine, "engine")}, [&]() -> Status {
    const Result<SamplingParams> in = sampling_params(sampling);
    return in ? set(engine->engine->fork(sequence, *in), fork) : in.error();
  });
}

decant_status decant_engine_truncate(decant_engine* engine, int64_t sequence, int32_t n_tokens, decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&] { return engine->engine->truncate(sequence, n_tokens); });
}

decant_status decant_engine_remove(decant_engine* engine, int64_t sequence, int32_t first, int32_t n,
                                   decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&] { return engine->engine->remove(sequence, first, n); });
}

decant_status decant_engine_extend(decant_engine* engine, int64_t sequence, const int32_t* ids, size_t n_ids,
                                   int32_t max_new_tokens, decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&]() -> Status {
    const Result<std::span<const int32_t>> in = ids_in(ids, n_ids, "ids");
    return in ? engine->engine->extend(sequence, *in, max_new_tokens) : in.error();
  });
}

decant_status decant_engine_extend_with(decant_engine* engine, int64_t sequence, const int32_t* ids, size_t n_ids,
                                        const decant_generation_options* options, decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&]() -> Status {
    const Result<std::span<const int32_t>> in = ids_in(ids, n_ids, "ids");
    if (!in) return in.error();
    const Result<GenerationOptions> how = generation_options(options);
    return how ? engine->engine->extend(sequence, *in, *how) : how.error();
  });
}

decant_status decant_engine_set_sampling(decant_engine* engine, int64_t sequence,
                                         const decant_sampling_params* sampling, decant_error* error) {
  return guarded(error, {handle(engine, "engine")}, [&]() -> Status {
    const Result<SamplingParams> in = sampling_params(sampling);
    return in ? engine->engine->set_sampling(sequence, *in) : in.error();
  });
}

decant_status decant_engine_get_sampling(const decant_engine* engine, int64_t sequence,
                                         decant_sampling_params* sampling, size_t struct_size, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(sampling, "sampling")}, [&]() -> Status {
    const Result<SequenceInfo> info = engine->engine->info(sequence);
    return info ? fill_struct(c_api::to_c(info->sampling), sampling, struct_size, "sampling") : info.error();
  });
}

decant_status decant_engine_get_sequence_info(const decant_engine* engine, int64_t sequence, decant_sequence_info* info,
                                              size_t struct_size, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(info, "info")}, [&]() -> Status {
    const Result<SequenceInfo> found = engine->engine->info(sequence);
    return found ? fill_struct(to_c(*found), info, struct_size, "info") : found.error();
  });
}

decant_status decant_engine_sequence_ids(const decant_engine* engine, int64_t sequence, int32_t* ids, size_t capacity,
                                         size_t* n_ids, decant_error* error) {
  return guarded(error, {result(n_ids, "n_ids"), handle(engine, "engine")}, [&]() -> Status {
    const Result<SequenceInfo> found = engine->engine->info(sequence);
    return found ? ids_out(found->ids, ids, capacity, n_ids) : found.error();
  });
}

decant_status decant_engine_save(decant_engine* engine, int64_t sequence, const char* path, decant_error* error) {
  return guarded(error, {handle(engine, "engine"), given(path, "path")},
                 [&] { return engine->engine->save(sequence, path); });
}

decant_status decant_engine_restore(decant_engine* engine, const char* path, int64_t* sequence, decant_error* error) {
  return guarded(error, {result(sequence, "sequence"), handle(engine, "engine"), given(path, "path")},
                 [&] { return set(engine->engine->restore(path), sequence); });
}

}  // extern "C"
