// SPDX-License-Identifier: Apache-2.0
#include <decant/c_api.h>
#include <stdio.h>

int main(int argc, char** argv) {
  decant_engine* engine = NULL;
  decant_session* session = NULL;
  decant_stream* stream = NULL;
  const decant_piece* piece = NULL;
  decant_error error;
  decant_generation_options options;
  decant_generation_options_init(&options, sizeof options);
  options.max_new_tokens = 100;

  if (decant_engine_open(argc > 1 ? argv[1] : "model.gguf", NULL, NULL, &engine, &error) == DECANT_OK &&
      decant_engine_session(engine, NULL, &session, &error) == DECANT_OK &&
      decant_session_stream(session, "Once upon a time", DECANT_NUL_TERMINATED, &options, &stream, &error) == DECANT_OK)
    while (decant_stream_next(stream, &piece, &error) == DECANT_OK && piece != NULL) {
      fwrite(piece->text, 1, piece->n_text_bytes, stdout);
      fflush(stdout);
    }
  if (error.code != DECANT_OK) fprintf(stderr, "%s\n", error.message);  // of the last call

  decant_stream_free(&stream);
  decant_session_free(&session);
  decant_engine_free(&engine);
  return error.code != DECANT_OK;
}
