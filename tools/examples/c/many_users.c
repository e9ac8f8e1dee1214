// SPDX-License-Identifier: Apache-2.0
// Five users, one loop: whoever can be taken in is, the others wait for somebody to finish.
#include <decant/c_api.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { N_USERS = 5, MAX_TEXT = 1000 };

typedef struct user {
  const char* prompt;
  int64_t sequence;  // 0: hasn't been taken in
  char text[MAX_TEXT];
  size_t n_bytes;
} user;

static void add_piece(user* users, const decant_piece* piece) {
  for (int i = 0; i < N_USERS; ++i) {
    user* u = &users[i];
    if (u->sequence != piece->sequence) continue;
    if (u->n_bytes + piece->n_text_bytes < MAX_TEXT) {
      memcpy(u->text + u->n_bytes, piece->text, piece->n_text_bytes);
      u->n_bytes += piece->n_text_bytes;
    }
    if (piece->finish != DECANT_FINISH_NONE)
      printf("%" PRId64 " (%s): %s%s\n", u->sequence, decant_finish_name(piece->finish), u->prompt, u->text);
  }
}

// Takes in the next users, as many as there is room for. Their number is the answer, or -1.
static int take_in(decant_engine* engine, user* users, int first, int n_alive, decant_error* error) {
  decant_sampling_params sampling;
  decant_generation_options generation;
  decant_request request;
  decant_sampling_params_init(&sampling, sizeof sampling);
  decant_generation_options_init(&generation, sizeof generation);
  decant_request_init(&request, sizeof request);
  sampling.temperature = 0.0F;
  generation.sampling = &sampling;
  generation.max_new_tokens = 24;
  request.generation = &generation;
  request.n_prompt_text_bytes = DECANT_NUL_TERMINATED;
  for (int i = first; i < N_USERS; ++i) {
    request.prompt_text = users[i].prompt;
    generation.priority = i == 0;  // the first one's prompt goes before the others'
    decant_admission admission;
    if (decant_engine_admit(engine, &request, &admission, sizeof admission, error) != DECANT_OK) return -1;
    const decant_status status = decant_engine_submit(engine, &request, &users[i].sequence, error);
    if (status == DECANT_CACHE_FULL && n_alive + i - first > 0) return i - first;
    if (status != DECANT_OK) return -1;
    printf("%s… takes up to %zu KiB of cache\n", users[i].prompt, admission.needed_bytes / 1024);
  }
  return N_USERS - first;
}

int main(int argc, char** argv) {
  static user users[N_USERS] = {{.prompt = "Once upon a time"},
                                {.prompt = "The fox looked at the hen and said"},
                                {.prompt = "Far away, in the forest,"},
                                {.prompt = "The king had three sons"},
                                {.prompt = "There was an old woman"}};
  decant_engine* engine = NULL;
  decant_error error;
  decant_engine_options options;
  decant_engine_options_init(&options, sizeof options);
  options.max_sequences = 3;
  decant_status status = decant_engine_open(argc > 1 ? argv[1] : "model.gguf", &options, NULL, &engine, &error);

  int n_taken = 0, n_done = 0;
  while (status == DECANT_OK && n_done < N_USERS) {
    const int n = take_in(engine, users, n_taken, n_taken - n_done, &error);
    if (n < 0) break;
    n_taken += n;
    const decant_step_report* report = NULL;
    status = decant_engine_step(engine, NULL, &report, &error);
    for (size_t i = 0; status == DECANT_OK && i < report->n_pieces; ++i) {
      add_piece(users, report->pieces[i]);
      n_done += report->pieces[i]->finish != DECANT_FINISH_NONE;
    }
  }
  decant_engine_free(&engine);
  if (n_done == N_USERS) return 0;
  fprintf(stderr, "%s\n", error.message);
  return 1;
}
