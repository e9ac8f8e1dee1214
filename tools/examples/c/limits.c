// SPDX-License-Identifier: Apache-2.0
// An engine that stays within so many bytes: what doesn't fit is refused before any work.
#include <decant/c_api.h>
#include <stdio.h>

// Submits a request, and says what became of it. 0 for an error that isn't a lack of room.
static int ask(decant_engine* engine, int32_t max_new_tokens, decant_error* error) {
  decant_generation_options generation;
  decant_request request;
  decant_generation_options_init(&generation, sizeof generation);
  decant_request_init(&request, sizeof request);
  generation.max_new_tokens = max_new_tokens;
  request.prompt_text = "Once upon a time";
  request.n_prompt_text_bytes = DECANT_NUL_TERMINATED;
  request.generation = &generation;
  decant_admission admission;
  if (decant_engine_admit(engine, &request, &admission, sizeof admission, error) != DECANT_OK) return 0;
  printf("needs up to %zu of %zu bytes: %s\n", admission.needed_bytes, admission.available_bytes,
         admission.fits ? "fits" : "doesn't fit");
  int64_t sequence = 0;
  const decant_status status = decant_engine_submit(engine, &request, &sequence, error);
  if (status != DECANT_OK) printf("  %s: %s\n", decant_status_name(status), error->message);
  return status == DECANT_OK || status == DECANT_CACHE_FULL || status == DECANT_OVER_LIMIT;
}

int main(int argc, char** argv) {
  decant_model* model = NULL;
  decant_engine *unlimited = NULL, *engine = NULL;
  decant_error error;
  decant_memory_stats memory;
  size_t whole_text_bytes = 0;
  decant_engine_options options;
  decant_engine_options_init(&options, sizeof options);
  options.n_ctx = 512;

  // What an engine takes before any text, and room for one and a half texts.
  int ok = decant_model_open(argc > 1 ? argv[1] : "model.gguf", NULL, &model, &error) == DECANT_OK &&
           decant_engine_create(model, &options, &unlimited, &error) == DECANT_OK &&
           decant_engine_get_memory_stats(unlimited, &memory, sizeof memory, &error) == DECANT_OK &&
           decant_engine_cache_bytes_needed(unlimited, options.n_ctx, &whole_text_bytes, &error) == DECANT_OK;
  if (ok) {
    options.memory_limit_bytes = memory.total_bytes + whole_text_bytes * 3 / 2;
    ok = decant_engine_create(model, &options, &engine, &error) == DECANT_OK &&
         decant_engine_get_memory_stats(engine, &memory, sizeof memory, &error) == DECANT_OK;
  }
  if (ok) {
    printf("limit %zu, weights %zu, before any text %zu bytes\n", memory.limit_bytes, memory.weights_bytes,
           memory.total_bytes);
    ok = ask(engine, -1, &error) && ask(engine, -1, &error) && ask(engine, 100, &error);  // negative: the whole context
  }
  if (!ok) fprintf(stderr, "%s\n", error.message);

  decant_engine_free(&engine);
  decant_engine_free(&unlimited);
  decant_model_free(&model);
  return !ok;
}
