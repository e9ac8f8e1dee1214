// SPDX-License-Identifier: Apache-2.0
// Version, names of numbers, defaults and stop sources of the C ABI.
#include "decant/isa.h"
#include "decant/profile.h"

#include "engine/c_api/boundary.h"
#include "engine/c_api/convert.h"
#include "engine/c_api/handles.h"

using namespace decant;
using namespace decant::c_api;

namespace {

template <typename Enum>
const char* name_of(int32_t value, Enum last) noexcept {
  return value >= 0 && value <= static_cast<int32_t>(last) ? to_string(static_cast<Enum>(value)) : "?";
}

/// Defaults into a caller's struct, which keeps its own size.
template <typename T>
decant_status init(const T& defaults, T* out, size_t size, const char* name) noexcept {
  return guarded(nullptr, {given(out, name)}, [&]() -> Status {
    Status filled = fill_struct(defaults, out, size, name);
    if (filled) out->struct_size = size;
    return filled;
  });
}

}  // namespace

extern "C" {

uint32_t decant_version_number(void) { return DECANT_VERSION_NUMBER; }
const char* decant_version_string(void) { return DECANT_VERSION_STRING; }

const char* decant_status_name(decant_status status) { return name_of(status, ErrorCode::over_limit); }
const char* decant_op_name(int32_t op) { return name_of(op, Op::commit); }
const char* decant_finish_name(int32_t finish) { return name_of(finish, FinishReason::deadline); }
const char* decant_prefix_miss_name(int32_t miss) { return name_of(miss, PrefixMiss::no_memory); }

size_t decant_n_isas(void) { return available_isas().size(); }
const char* decant_isa_name(size_t i) {
  const std::span<const Isa> isas = available_isas();
  return i < isas.size() ? to_string(isas[i]) : nullptr;
}

decant_status decant_model_options_init(decant_model_options* options, size_t struct_size) {
  return init(default_model_options(), options, struct_size, "options");
}

decant_status decant_engine_options_init(decant_engine_options* options, size_t struct_size) {
  return init(default_engine_options(), options, struct_size, "options");
}

decant_status decant_sampling_params_init(decant_sampling_params* params, size_t struct_size) {
  return init(default_sampling_params(), params, struct_size, "params");
}

decant_status decant_generation_options_init(decant_generation_options* options, size_t struct_size) {
  return init(default_generation_options(), options, struct_size, "options");
}

decant_status decant_sequence_options_init(decant_sequence_options* options, size_t struct_size) {
  return init(default_sequence_options(), options, struct_size, "options");
}

decant_status decant_request_init(decant_request* request, size_t struct_size) {
  return init(default_request(), request, struct_size, "request");
}

decant_status decant_stop_source_create(decant_stop_source** stop, decant_error* error) {
  return guarded(error, {result(stop, "stop")}, [&]() -> Status {
    *stop = new decant_stop_source;
    return {};
  });
}

void decant_stop_source_request(decant_stop_source* stop) {
  if (stop != nullptr && stop->kind == decant_stop_source::kKind) stop->source.request_stop();
}

int32_t decant_stop_source_requested(const decant_stop_source* stop) {
  return stop != nullptr && stop->kind == decant_stop_source::kKind && stop->source.stop_requested() ? 1 : 0;
}

void decant_stop_source_free(decant_stop_source** stop) { free_handle(stop); }

}  // extern "C"
