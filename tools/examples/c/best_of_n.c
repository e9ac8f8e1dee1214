// SPDX-License-Identifier: Apache-2.0
// Four ways on from one prompt, which is computed once; the likeliest is kept.
#include <decant/c_api.h>
#include <stdio.h>
#include <string.h>

enum { N_CANDIDATES = 4, MAX_TEXT = 1000 };

typedef struct candidate {
  decant_session* session;
  decant_stream* stream;
  char text[MAX_TEXT];
  size_t n_bytes;
  double logprobs;  // their sum
  int n_tokens;
} candidate;

static decant_status begin(candidate* c, decant_session* from, uint64_t seed, decant_error* error) {
  const decant_text stop = {"\n", 1};
  decant_sampling_params sampling;
  decant_generation_options options;
  decant_sampling_params_init(&sampling, sizeof sampling);
  decant_generation_options_init(&options, sizeof options);
  sampling.temperature = 0.8F;
  sampling.seed = seed;
  options.sampling = &sampling;
  options.max_new_tokens = 40;
  options.stop_strings = &stop;
  options.n_stop_strings = 1;
  const decant_status forked = decant_session_fork(from, &c->session, error);
  return forked != DECANT_OK ? forked : decant_session_stream(c->session, NULL, 0, &options, &c->stream, error);
}

// Pulls a piece from each: all streams have begun, so the first that is asked computes a token for all of them.
static decant_status pull(candidate* candidates, int* n_going_on, decant_error* error) {
  *n_going_on = 0;
  for (candidate* c = candidates; c < candidates + N_CANDIDATES; ++c) {
    const decant_piece* piece = NULL;
    const decant_status status = decant_stream_next(c->stream, &piece, error);
    if (status != DECANT_OK) return status;
    if (piece == NULL) continue;
    ++*n_going_on;
    if (c->n_bytes + piece->n_text_bytes < MAX_TEXT) {
      memcpy(c->text + c->n_bytes, piece->text, piece->n_text_bytes);
      c->n_bytes += piece->n_text_bytes;
    }
    if (piece->token_id < 0) continue;
    c->logprobs += (double)piece->logprob;
    ++c->n_tokens;
  }
  return DECANT_OK;
}

int main(int argc, char** argv) {
  static candidate candidates[N_CANDIDATES];
  const char* prompt = "The fox looked at the hen and said";
  decant_engine* engine = NULL;
  decant_session* session = NULL;
  decant_error error;
  decant_generation_options options;
  decant_generation_options_init(&options, sizeof options);
  options.max_new_tokens = 0;  // the prompt only

  decant_status status = decant_engine_open(argc > 1 ? argv[1] : "model.gguf", NULL, NULL, &engine, &error);
  if (status == DECANT_OK) status = decant_engine_session(engine, NULL, &session, &error);
  if (status == DECANT_OK)
    status = decant_session_generate(session, prompt, DECANT_NUL_TERMINATED, &options, NULL, NULL, NULL, &error);
  for (int i = 0; status == DECANT_OK && i < N_CANDIDATES; ++i)
    status = begin(&candidates[i], session, (uint64_t)i + 1, &error);
  for (int n = 1; status == DECANT_OK && n > 0;) status = pull(candidates, &n, &error);

  const candidate* best = &candidates[0];
  for (int i = 0; status == DECANT_OK && i < N_CANDIDATES; ++i) {
    const candidate* c = &candidates[i];
    printf("[%.5f]%s\n", c->logprobs / c->n_tokens, c->text);
    if (c->logprobs / c->n_tokens > best->logprobs / best->n_tokens) best = c;
  }
  if (status == DECANT_OK) printf("best: %s%s\n", prompt, best->text);
  if (status != DECANT_OK) fprintf(stderr, "%s\n", error.message);

  for (int i = 0; i < N_CANDIDATES; ++i) {
    decant_stream_free(&candidates[i].stream);
    decant_session_free(&candidates[i].session);
  }
  decant_session_free(&session);
  decant_engine_free(&engine);
  return status != DECANT_OK;
}
