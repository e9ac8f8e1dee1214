// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/c_api.h"

#include "tests/support/fixtures.h"

/// What the tests of the C ABI share: handles that free themselves, and calls that must work.
namespace decant::test {

template <typename T, void (*free)(T**)>
struct Owned {
  T* it = nullptr;
  Owned() = default;
  Owned(Owned&& other) noexcept : it(std::exchange(other.it, nullptr)) {}
  Owned& operator=(Owned&&) = delete;
  ~Owned() { free(&it); }
  T** out() { return &it; }
  operator T*() const { return it; }  // NOLINT: as the handle itself
  T* operator->() const { return it; }
};
using CModel = Owned<decant_model, decant_model_free>;
using CEngine = Owned<decant_engine, decant_engine_free>;
using CSession = Owned<decant_session, decant_session_free>;
using CStream = Owned<decant_stream, decant_stream_free>;
using CStop = Owned<decant_stop_source, decant_stop_source_free>;
using CCompletion = Owned<decant_completion, decant_completion_free>;

/// must_be_ok(decant_x(…, &error), error)
inline void must_be_ok(decant_status status, const decant_error& error) {
  CAPTURE(error.message);
  REQUIRE(status == DECANT_OK);
  CHECK(error.code == DECANT_OK);
  CHECK(error.message[0] == '\0');
}

template <typename T>
T initialised(decant_status (*init)(T*, size_t)) {
  T it;
  REQUIRE(init(&it, sizeof it) == DECANT_OK);
  return it;
}

inline decant_engine_options small_c_options() {
  decant_engine_options options = initialised(decant_engine_options_init);
  options.n_threads = 2;
  options.max_sequences = 3;
  options.max_step_tokens = 32;
  options.cache_block_tokens = 16;
  return options;
}

inline CModel open_c_model(const std::string& path) {
  CModel model;
  decant_error error;
  must_be_ok(decant_model_open(path.c_str(), nullptr, model.out(), &error), error);
  return model;
}

inline CEngine c_engine(const decant_model* model, decant_engine_options options = small_c_options()) {
  CEngine engine;
  decant_error error;
  must_be_ok(decant_engine_create(model, &options, engine.out(), &error), error);
  return engine;
}

/// A model that all tests of a program share.
inline const decant_model* shared_c_model() {
  static const CModel model = open_c_model(fixture("models/llama-gqa"));
  return model;
}

inline CSession c_session(decant_engine* engine) {
  CSession session;
  decant_error error;
  must_be_ok(decant_engine_session(engine, nullptr, session.out(), &error), error);
  return session;
}

/// Greedy, past end ids, for n tokens.
struct Greedy {
  decant_sampling_params sampling = initialised(decant_sampling_params_init);
  decant_generation_options options = initialised(decant_generation_options_init);
  explicit Greedy(int n) {
    sampling.temperature = 0.0F;
    options.sampling = &sampling;
    options.max_new_tokens = n;
    options.ignore_end = 1;
  }
  Greedy(const Greedy&) = delete;
  Greedy& operator=(const Greedy&) = delete;
};

struct Said {
  std::vector<int32_t> ids;
  std::string text, bytes;
  std::vector<float> logprobs;
  int32_t finish = DECANT_FINISH_NONE;
  int32_t n_generated = 0;

  void add(const decant_piece* piece) {
    REQUIRE(piece->struct_size == sizeof *piece);
    REQUIRE(piece->usage->struct_size == sizeof *piece->usage);
    CHECK(piece->text[piece->n_text_bytes] == '\0');
    CHECK(piece->bytes[piece->n_bytes] == '\0');
    if (piece->token_id >= 0) {
      ids.push_back(piece->token_id);
      logprobs.push_back(piece->logprob);
    }
    text.append(piece->text, piece->n_text_bytes);
    bytes.append(piece->bytes, piece->n_bytes);
    finish = piece->finish;
    n_generated = piece->usage->n_generated_tokens;
  }
  bool operator==(const Said&) const = default;
};

/// All that a stream says.
inline Said drain(decant_stream* stream) {
  Said said;
  decant_error error;
  const decant_piece* piece = nullptr;
  do {
    must_be_ok(decant_stream_next(stream, &piece, &error), error);
    if (piece != nullptr) said.add(piece);
  } while (piece != nullptr);
  return said;
}

inline Said say(decant_session* session, const std::vector<int32_t>& prompt, int n) {
  const Greedy greedy(n);
  CStream stream;
  decant_error error;
  must_be_ok(decant_session_stream_ids(session, prompt.data(), prompt.size(), &greedy.options, stream.out(), &error),
             error);
  return drain(stream);
}

}  // namespace decant::test
