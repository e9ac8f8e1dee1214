// SPDX-License-Identifier: Apache-2.0
// Three ways to stop a text: an answer to a piece, a switch, and a time limit.
#include <decant/c_api.h>
#include <stdio.h>
#include <string.h>

static int32_t until_sentence_ends(void* user, const decant_piece* piece) {
  (void)user;
  fwrite(piece->text, 1, piece->n_text_bytes, stdout);
  return strchr(piece->text, '.') == NULL ? DECANT_FLOW_GO_ON : DECANT_FLOW_STOP;
}

// Any thread may switch it; here it is the callback, after twenty tokens.
static int32_t switch_after_twenty(void* user, const decant_piece* piece) {
  if (piece->usage->n_generated_tokens == 20) decant_stop_source_request(user);
  return DECANT_FLOW_GO_ON;
}

static int tell(decant_session* session, const char* prompt, const decant_generation_options* options,
                decant_piece_callback on_piece, void* user, decant_error* error) {
  decant_completion* told = NULL;
  if (decant_session_generate(session, prompt, DECANT_NUL_TERMINATED, options, on_piece, user, &told, error) !=
      DECANT_OK)
    return 0;
  printf(" [%zu tokens, %s]\n", told->n_ids, decant_finish_name(told->finish));
  decant_completion_free(&told);
  return 1;
}

int main(int argc, char** argv) {
  decant_engine* engine = NULL;
  decant_session* session = NULL;
  decant_stop_source* stop = NULL;
  decant_error error;
  decant_generation_options options, with_switch, in_time;
  decant_generation_options_init(&options, sizeof options);
  options.ignore_end = 1;  // would go on until the context is full
  with_switch = in_time = options;

  int ok = decant_engine_open(argc > 1 ? argv[1] : "model.gguf", NULL, NULL, &engine, &error) == DECANT_OK &&
           decant_engine_session(engine, NULL, &session, &error) == DECANT_OK &&
           decant_stop_source_create(&stop, &error) == DECANT_OK;
  with_switch.stop = stop;
  in_time.timeout_ms = 20;
  options.max_new_tokens = 10;
  ok = ok && tell(session, "Once upon a time", &with_switch, until_sentence_ends, NULL, &error) &&
       tell(session, "", &with_switch, switch_after_twenty, stop, &error) &&
       tell(session, "", &in_time, NULL, NULL, &error) &&
       tell(session, "", &options, NULL, NULL, &error);  // from the last token on, as if nothing had happened
  if (!ok) fprintf(stderr, "%s\n", error.message);

  decant_stop_source_free(&stop);
  decant_session_free(&session);
  decant_engine_free(&engine);
  return !ok;
}
