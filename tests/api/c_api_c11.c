// SPDX-License-Identifier: Apache-2.0
// The C ABI from C11: the header compiles without a warning, no struct has a hole, and every function says what is
// wrong when it is called with nothing at all. Exits 0, or 1 with a line for each call that was not as it should be.
#include <stdio.h>
#include <string.h>

#include "decant/c_api.h"

static int n_wrong = 0;

static void check(int good, const char* what, const char* message) {
  if (good) return;
  ++n_wrong;
  printf("%s (%s)\n", what, message);
}

// A call without its arguments is DECANT_INVALID_ARGUMENT, with a message, and without an error to write to as well.
#define REFUSED(...)                                                                                       \
  do {                                                                                                     \
    decant_error error;                                                                                    \
    memset(&error, 'x', sizeof error);                                                                     \
    const decant_status status = (__VA_ARGS__);                                                            \
    check(status == DECANT_INVALID_ARGUMENT && error.code == status && strstr(error.message, "NULL") != 0, \
          #__VA_ARGS__, error.code == status ? error.message : "no message");                              \
  } while (0)

static void call_models_with_nothing(void) {
  size_t n = 1;
  int32_t id = 0;
  char text[8];
  decant_model* model = NULL;
  decant_model_info info;
  decant_generation_defaults defaults;
  decant_load_times times;
  REFUSED(decant_model_open(NULL, NULL, &model, &error));
  REFUSED(decant_model_open("x", NULL, NULL, &error));
  REFUSED(decant_model_get_info(NULL, &info, sizeof info, &error));
  REFUSED(decant_model_get_generation_defaults(NULL, &defaults, sizeof defaults, &error));
  REFUSED(decant_model_get_load_times(NULL, &times, sizeof times, &error));
  REFUSED(decant_model_encode(NULL, "x", 1, 1, &id, 1, &n, &error));
  check(n == 0, "decant_model_encode", "n isn't 0 after an error");
  REFUSED(decant_model_encode(NULL, "x", 1, 1, &id, 1, NULL, &error));
  REFUSED(decant_model_decode(NULL, &id, 1, 1, text, sizeof text, &n, &error));
  REFUSED(decant_model_token_bytes(NULL, 0, text, sizeof text, &n, &error));
  REFUSED(decant_model_token_entry(NULL, 0, text, sizeof text, &n, &error));
  REFUSED(decant_model_token_id(NULL, "x", DECANT_NUL_TERMINATED, &id, &error));
  REFUSED(decant_model_token_is_special(NULL, 0, &id, &error));
  decant_model_free(&model);
  decant_model_free(NULL);
}

static void call_engines_with_nothing(void) {
  size_t n = 0;
  int64_t n_tokens = 0;
  decant_engine* engine = NULL;
  decant_engine_info info;
  decant_memory_stats memory;
  decant_cache_stats cache;
  REFUSED(decant_engine_open(NULL, NULL, NULL, &engine, &error));
  REFUSED(decant_engine_open("x", NULL, NULL, NULL, &error));
  REFUSED(decant_engine_create(NULL, NULL, &engine, &error));
  check(decant_engine_get_model(NULL) == NULL, "decant_engine_get_model", "");
  REFUSED(decant_engine_get_info(NULL, &info, sizeof info, &error));
  REFUSED(decant_engine_get_memory_stats(NULL, &memory, sizeof memory, &error));
  REFUSED(decant_engine_get_cache_stats(NULL, &cache, sizeof cache, &error));
  REFUSED(decant_engine_cache_bytes_needed(NULL, 1, &n, &error));
  REFUSED(decant_engine_save_prefixes(NULL, "x", &error));
  REFUSED(decant_engine_restore_prefixes(NULL, "x", &n_tokens, &error));
  REFUSED(decant_engine_forget_prefixes(NULL, NULL, 0, &error));
  decant_engine_free(&engine);
  decant_engine_free(NULL);
}

static void call_sequences_with_nothing(void) {
  size_t n = 0;
  int64_t sequence = 0;
  int32_t id = 0;
  decant_request request;
  decant_admission admission;
  decant_sampling_params sampling;
  decant_sequence_info info;
  const decant_step_report* report = NULL;
  check(decant_request_init(&request, sizeof request) == DECANT_OK, "decant_request_init", "");
  REFUSED(decant_engine_admit(NULL, &request, &admission, sizeof admission, &error));
  REFUSED(decant_engine_submit(NULL, &request, &sequence, &error));
  REFUSED(decant_engine_step(NULL, NULL, &report, &error));
  REFUSED(decant_engine_cancel(NULL, 1, &error));
  REFUSED(decant_engine_fork(NULL, 1, NULL, &sequence, &error));
  REFUSED(decant_engine_truncate(NULL, 1, 1, &error));
  REFUSED(decant_engine_remove(NULL, 1, 0, 1, &error));
  REFUSED(decant_engine_extend(NULL, 1, &id, 1, -1, &error));
  REFUSED(decant_engine_extend_with(NULL, 1, &id, 1, NULL, &error));
  REFUSED(decant_engine_set_sampling(NULL, 1, NULL, &error));
  REFUSED(decant_engine_get_sampling(NULL, 1, &sampling, sizeof sampling, &error));
  REFUSED(decant_engine_get_sequence_info(NULL, 1, &info, sizeof info, &error));
  REFUSED(decant_engine_sequence_ids(NULL, 1, &id, 1, &n, &error));
  REFUSED(decant_engine_save(NULL, 1, "x", &error));
  REFUSED(decant_engine_restore(NULL, "x", &sequence, &error));
}

static void call_sessions_with_nothing(void) {
  size_t n = 0;
  int32_t id = 0;
  decant_session* session = NULL;
  decant_stream* stream = NULL;
  decant_completion* completion = NULL;
  const decant_piece* piece = NULL;
  decant_usage usage;
  REFUSED(decant_engine_session(NULL, NULL, &session, &error));
  REFUSED(decant_engine_restore_session(NULL, "x", &session, &error));
  REFUSED(decant_session_stream(NULL, "x", 1, NULL, &stream, &error));
  REFUSED(decant_session_stream_ids(NULL, &id, 1, NULL, &stream, &error));
  REFUSED(decant_stream_next(NULL, &piece, &error));
  check(decant_stream_finish(NULL) == DECANT_FINISH_NONE, "decant_stream_finish", "");
  REFUSED(decant_stream_get_usage(NULL, &usage, sizeof usage, &error));
  REFUSED(decant_session_generate(NULL, "x", 1, NULL, NULL, NULL, &completion, &error));
  REFUSED(decant_session_generate_ids(NULL, &id, 1, NULL, NULL, NULL, &completion, &error));
  REFUSED(decant_session_fork(NULL, &session, &error));
  REFUSED(decant_session_truncate(NULL, 0, &error));
  REFUSED(decant_session_save(NULL, "x", &error));
  decant_session_cancel(NULL);
  check(decant_session_n_tokens(NULL) == 0, "decant_session_n_tokens", "");
  REFUSED(decant_session_ids(NULL, &id, 1, &n, &error));
  decant_completion_free(&completion);
  decant_completion_free(NULL);
  decant_stream_free(&stream);
  decant_stream_free(NULL);
  decant_session_free(&session);
  decant_session_free(NULL);
}

static void call_the_rest(void) {
  decant_model_options model;
  decant_engine_options engine;
  decant_sampling_params sampling;
  decant_generation_options generation;
  decant_sequence_options sequence;
  check(decant_model_options_init(&model, sizeof model) == DECANT_OK, "decant_model_options_init", "");
  check(decant_engine_options_init(&engine, sizeof engine) == DECANT_OK, "decant_engine_options_init", "");
  check(decant_sampling_params_init(&sampling, sizeof sampling) == DECANT_OK, "decant_sampling_params_init", "");
  check(decant_generation_options_init(&generation, sizeof generation) == DECANT_OK, "generation", "");
  check(decant_sequence_options_init(&sequence, sizeof sequence) == DECANT_OK, "decant_sequence_options_init", "");
  check(model.struct_size == sizeof model && model.map_packed == 1 && model.timeout_ms == -1, "model", "defaults");
  check(engine.max_sequences == 8 && engine.cache_k_type == DECANT_KV_F16, "engine", "defaults");
  check(sampling.temperature == 1.0F && sampling.top_p == 1.0F && sampling.seed == 0, "sampling", "defaults");
  check(generation.max_new_tokens == -1 && generation.timeout_ms == -1, "generation", "defaults");
  check(sequence.share_prefix == 1 && sequence.n_sinks == 4, "sequence", "defaults");
  check(decant_model_options_init(NULL, sizeof model) == DECANT_INVALID_ARGUMENT, "NULL", "");
  check(decant_engine_options_init(NULL, sizeof engine) == DECANT_INVALID_ARGUMENT, "NULL", "");
  check(decant_sampling_params_init(NULL, sizeof sampling) == DECANT_INVALID_ARGUMENT, "NULL", "");
  check(decant_generation_options_init(NULL, sizeof generation) == DECANT_INVALID_ARGUMENT, "NULL", "");
  check(decant_sequence_options_init(NULL, sizeof sequence) == DECANT_INVALID_ARGUMENT, "NULL", "");
  check(decant_request_init(NULL, 8) == DECANT_INVALID_ARGUMENT, "NULL", "");

  decant_stop_source* stop = NULL;
  REFUSED(decant_stop_source_create(NULL, &error));
  check(decant_stop_source_create(&stop, NULL) == DECANT_OK, "decant_stop_source_create", "");
  check(decant_stop_source_requested(stop) == 0, "not requested", "");
  decant_stop_source_request(stop);
  check(decant_stop_source_requested(stop) == 1, "requested", "");
  decant_stop_source_free(&stop);
  check(stop == NULL, "decant_stop_source_free", "the pointer isn't NULL");
  decant_stop_source_free(&stop);
  decant_stop_source_free(NULL);
  decant_stop_source_request(NULL);
  check(decant_stop_source_requested(NULL) == 0, "requested NULL", "");

  check(decant_version_number() == DECANT_VERSION_NUMBER, "decant_version_number", "");
  check(strcmp(decant_version_string(), DECANT_VERSION_STRING) == 0, "decant_version_string", "");
  check(strcmp(decant_status_name(DECANT_CACHE_FULL), "cache_full") == 0, "decant_status_name", "");
  check(strcmp(decant_status_name(-1), "?") == 0 && strcmp(decant_status_name(12), "?") == 0, "status", "");
  check(strcmp(decant_op_name(DECANT_OP_COMMIT), "commit") == 0 && strcmp(decant_op_name(15), "?") == 0, "op", "");
  check(strcmp(decant_finish_name(DECANT_FINISH_DEADLINE), "deadline") == 0, "decant_finish_name", "");
  check(strcmp(decant_prefix_miss_name(DECANT_PREFIX_NO_MEMORY), "no_memory") == 0, "decant_prefix_miss_name", "");
  check(decant_n_isas() > 0 && strcmp(decant_isa_name(0), "reference") == 0, "decant_isa_name", "");
  check(decant_isa_name(decant_n_isas()) == NULL, "decant_isa_name", "beyond the end");
}

int main(void) {
  call_models_with_nothing();
  call_engines_with_nothing();
  call_sequences_with_nothing();
  call_sessions_with_nothing();
  call_the_rest();
  return n_wrong == 0 ? 0 : 1;
}
