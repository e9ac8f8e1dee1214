// SPDX-License-Identifier: Apache-2.0
// Each run goes on where the last one stopped: save_resume MODEL [FILE].
#include <decant/c_api.h>
#include <stdio.h>

static int exists(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file != NULL) fclose(file);
  return file != NULL;
}

int main(int argc, char** argv) {
  const char* path = argc > 2 ? argv[2] : "tale.kv";
  const int resumed = exists(path);
  const char* prompt = resumed ? "" : "Once upon a time";
  decant_engine* engine = NULL;
  decant_session* session = NULL;
  decant_completion* told = NULL;
  decant_error error;
  decant_generation_options options;
  decant_generation_options_init(&options, sizeof options);
  options.max_new_tokens = 40;

  decant_status status = decant_engine_open(argc > 1 ? argv[1] : "model.gguf", NULL, NULL, &engine, &error);
  if (status == DECANT_OK)
    status = resumed ? decant_engine_restore_session(engine, path, &session, &error)
                     : decant_engine_session(engine, NULL, &session, &error);
  if (status == DECANT_OK) {
    printf("[%d tokens from %s]\n", decant_session_n_tokens(session), path);
    status = decant_session_generate(session, prompt, DECANT_NUL_TERMINATED, &options, NULL, NULL, &told, &error);
  }
  if (status == DECANT_OK) {
    printf("%s%s\n", prompt, told->text);
    status = decant_session_save(session, path, &error);
  }
  if (status != DECANT_OK) fprintf(stderr, "%s\n", error.message);

  decant_completion_free(&told);
  decant_session_free(&session);
  decant_engine_free(&engine);
  return status != DECANT_OK;
}
