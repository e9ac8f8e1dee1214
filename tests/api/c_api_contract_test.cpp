// SPDX-License-Identifier: Apache-2.0
// The conventions at the top of c_api.h.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "engine/c_api/boundary.h"
#include "tests/api/c_api_case.h"

namespace decant::test {

namespace {

bool mentions(const decant_error& error, const char* what) { return std::strstr(error.message, what) != nullptr; }

/// A struct of a later version: more than this one knows.
template <typename T>
struct Later {
  T known;
  uint64_t more = 0;
};

}  // namespace

TEST_CASE("c_api: a struct of an older caller gets the defaults of what it doesn't know") {
  decant_engine_options options = small_c_options();
  options.n_ctx = 40;
  options.cache_k_type = 99;  // beyond what the older caller has: not looked at
  options.struct_size = offsetof(decant_engine_options, cache_k_type);
  CEngine engine;
  decant_error error;
  must_be_ok(decant_engine_create(shared_c_model(), &options, engine.out(), &error), error);
  decant_engine_info info;
  must_be_ok(decant_engine_get_info(engine, &info, sizeof info, &error), error);
  CHECK(info.n_ctx == 40);

  decant_sampling_params sampling;
  std::memset(&sampling, 0xee, sizeof sampling);
  REQUIRE(decant_sampling_params_init(&sampling, offsetof(decant_sampling_params, top_p)) == DECANT_OK);
  CHECK(sampling.struct_size == offsetof(decant_sampling_params, top_p));
  CHECK(sampling.temperature == 1.0F);
  uint32_t untouched = 0;
  std::memcpy(&untouched, &sampling.top_p, sizeof untouched);
  CHECK(untouched == 0xeeeeeeeeU);
}

TEST_CASE("c_api: a struct of a later caller works until it asks for what isn't known") {
  Later<decant_generation_options> options;
  REQUIRE(decant_generation_options_init(&options.known, sizeof options) == DECANT_OK);
  CHECK(options.known.struct_size == sizeof options);
  CHECK(options.known.timeout_ms == -1);
  options.known.max_new_tokens = 3;
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  decant_error error;
  CCompletion completion;
  must_be_ok(decant_session_generate(session, "a", 1, &options.known, nullptr, nullptr, completion.out(), &error),
             error);
  options.more = 1;
  CHECK(decant_session_generate(session, "a", 1, &options.known, nullptr, nullptr, nullptr, &error) ==
        DECANT_INVALID_ARGUMENT);
  CHECK(mentions(error, "decant_generation_options"));
}

TEST_CASE("c_api: a struct that was not initialised is refused, however it was not") {
  const CEngine engine = c_engine(shared_c_model());
  decant_error error;
  decant_request request = initialised(decant_request_init);
  int64_t sequence = 0;
  request.prompt_text = "a";
  for (const size_t size : {size_t{0}, size_t{4}, size_t{12}, sizeof request + 1, size_t{4104}, SIZE_MAX}) {
    CAPTURE(size);
    request.struct_size = size;
    CHECK(decant_engine_submit(engine, &request, &sequence, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(mentions(error, "struct_size"));
    decant_engine_info info;
    CHECK(decant_engine_get_info(engine, &info, size, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_request_init(&request, size) == DECANT_INVALID_ARGUMENT);
  }
  request = initialised(decant_request_init);
  request.prompt_text = "a";
  request.reserved = 1;
  CHECK(decant_engine_submit(engine, &request, &sequence, &error) == DECANT_INVALID_ARGUMENT);
}

TEST_CASE("c_api: a struct that comes out is cut for an older caller and padded for a later one") {
  decant_error error;
  decant_model_info whole, part;
  must_be_ok(decant_model_get_info(shared_c_model(), &whole, sizeof whole, &error), error);
  CHECK(whole.struct_size == sizeof whole);
  std::memset(&part, 0xee, sizeof part);
  must_be_ok(decant_model_get_info(shared_c_model(), &part, offsetof(decant_model_info, n_layers), &error), error);
  CHECK(part.struct_size == offsetof(decant_model_info, n_layers));
  CHECK(part.fingerprint == whole.fingerprint);
  CHECK(part.n_layers == static_cast<int32_t>(0xeeeeeeeeU));
  Later<decant_model_info> later;
  later.more = 1;
  must_be_ok(decant_model_get_info(shared_c_model(), &later.known, sizeof later, &error), error);
  CHECK(later.known.struct_size == sizeof(decant_model_info));
  CHECK(later.more == 0);
}

TEST_CASE("c_api: a handle that was freed is NULL, and NULL is refused and freed at will") {
  CEngine engine = c_engine(shared_c_model());
  CSession session = c_session(engine);
  decant_error error;
  decant_session_free(session.out());
  CHECK(session.it == nullptr);
  decant_session_free(session.out());
  CHECK(decant_session_truncate(session, 0, &error) == DECANT_INVALID_ARGUMENT);
  CHECK(mentions(error, "session is NULL"));
  decant_engine_free(engine.out());
  decant_engine_free(engine.out());
  CHECK(decant_engine_session(engine, nullptr, session.out(), &error) == DECANT_INVALID_ARGUMENT);
  CHECK(decant_engine_session(engine, nullptr, session.out(), nullptr) == DECANT_INVALID_ARGUMENT);
}

TEST_CASE("c_api: a handle of another type is found out, and a lent model is never freed") {
  CEngine engine = c_engine(shared_c_model());
  decant_error error;
  auto* const wrong = reinterpret_cast<decant_session*>(engine.it);
  CHECK(decant_session_truncate(wrong, 0, &error) == DECANT_INVALID_ARGUMENT);
  CHECK(mentions(error, "no live handle of this type"));
  decant_session* to_free = wrong;
  decant_session_free(&to_free);
  CHECK(to_free == wrong);
  CHECK(decant_session_n_tokens(wrong) == 0);
  decant_generation_options options = initialised(decant_generation_options_init);
  options.stop = reinterpret_cast<decant_stop_source*>(engine.it);
  const CSession session = c_session(engine);
  CHECK(decant_session_generate(session, "a", 1, &options, nullptr, nullptr, nullptr, &error) ==
        DECANT_INVALID_ARGUMENT);

  const decant_model* const lent = decant_engine_get_model(engine);
  auto* mistaken = const_cast<decant_model*>(lent);
  decant_model_free(&mistaken);
  decant_model_info info;
  must_be_ok(decant_model_get_info(lent, &info, sizeof info, &error), error);
  const CEngine another = c_engine(lent);
  decant_engine_free(engine.out());
  CHECK(say(c_session(another), {1, 2}, 2).ids.size() == 2);
}

TEST_CASE("c_api: a buffer that is too small gets nothing but the count") {
  decant_error error;
  int32_t ids[2] = {-7, -7};
  size_t n = 0;
  CHECK(decant_model_encode(shared_c_model(), "Hello there", DECANT_NUL_TERMINATED, 1, ids, 2, &n, &error) ==
        DECANT_INVALID_ARGUMENT);
  CHECK(n > 2);
  CHECK(ids[0] == -7);
  CHECK(mentions(error, "room for 2 ids"));
  CHECK(decant_model_encode(shared_c_model(), "Hello", DECANT_NUL_TERMINATED, 1, nullptr, 2, &n, &error) ==
        DECANT_INVALID_ARGUMENT);
  const int32_t a[] = {64, 65, 66};
  must_be_ok(decant_model_decode(shared_c_model(), a, 3, 1, nullptr, 0, &n, &error), error);
  std::string text(n + 1, 'x');
  CHECK(decant_model_decode(shared_c_model(), a, 3, 1, text.data(), n, &n, &error) == DECANT_INVALID_ARGUMENT);
  CHECK(text[0] == 'x');
  must_be_ok(decant_model_decode(shared_c_model(), a, 3, 1, text.data(), n + 1, &n, &error), error);
  CHECK(text[n] == '\0');
}

TEST_CASE("c_api: a long message is cut at a whole character") {
  decant_error error;
  for (size_t n = 1010; n < 1030; ++n) {
    std::string message(n, 'a');
    for (int i = 0; i < 3; ++i) message += "\xe2\x89\xa4";  // ≤
    std::memset(&error, 0xee, sizeof error);
    CHECK(c_api::fail(&error, ErrorCode::io, message) == DECANT_IO);
    const std::string cut = error.message;
    CHECK(message.substr(0, cut.size()) == cut);
    const size_t whole = n >= 1019 ? 1019 : n + (1019 - n) / 3 * 3;
    CHECK(cut.size() == whole);
  }
}

TEST_CASE("c_api: an exception of a callback ends the call with an error, and the session is usable") {
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  const Greedy greedy(10);
  decant_error error;
  CCompletion completion;
  const auto thrower = [](void*, const decant_piece*) -> int32_t { throw std::runtime_error("from the callback"); };
  const auto odd_thrower = [](void*, const decant_piece*) -> int32_t { throw 1; };
  CHECK(decant_session_generate(session, "a", 1, &greedy.options, thrower, nullptr, completion.out(), &error) ==
        DECANT_INTERNAL);
  CHECK(mentions(error, "from the callback"));
  CHECK(completion.it == nullptr);
  CHECK(decant_session_generate(session, "a", 1, &greedy.options, odd_thrower, nullptr, nullptr, &error) ==
        DECANT_INTERNAL);
  CHECK(say(session, {}, 3).ids.size() == 3);
}

TEST_CASE("c_api: prompts and ids that can't be are refused, and nothing changes") {
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  decant_error error;
  decant_engine_info info;
  must_be_ok(decant_engine_get_info(engine, &info, sizeof info, &error), error);
  const std::vector<int32_t> too_long(static_cast<size_t>(info.n_ctx) + 1, 1);
  const int32_t out_of_range[] = {512}, negative[] = {-1};
  const auto stream = [&](const int32_t* ids, size_t n) {
    CStream out;
    const decant_status status = decant_session_stream_ids(session, ids, n, nullptr, out.out(), &error);
    CHECK(out.it == nullptr);
    CHECK(error.message[0] != '\0');
    return status;
  };
  CHECK(stream(nullptr, 0) == DECANT_INVALID_ARGUMENT);
  CHECK(stream(nullptr, 3) == DECANT_INVALID_ARGUMENT);
  CHECK(stream(out_of_range, 1) == DECANT_INVALID_ARGUMENT);
  CHECK(stream(negative, 1) == DECANT_INVALID_ARGUMENT);
  CHECK(stream(negative, SIZE_MAX) == DECANT_INVALID_ARGUMENT);
  CHECK(stream(too_long.data(), too_long.size()) == DECANT_INVALID_ARGUMENT);
  CStream out;
  CHECK(decant_session_stream(session, nullptr, 2, nullptr, out.out(), &error) == DECANT_INVALID_ARGUMENT);
  CHECK(decant_session_stream(session, nullptr, DECANT_NUL_TERMINATED, nullptr, out.out(), &error) ==
        DECANT_INVALID_ARGUMENT);
  CHECK(decant_session_stream(session, "a", SIZE_MAX - 1, nullptr, out.out(), &error) == DECANT_INVALID_ARGUMENT);
  CHECK(decant_session_n_tokens(session) == 0);

  decant_request request = initialised(decant_request_init);
  int64_t sequence = 5;
  CHECK(decant_engine_submit(engine, &request, &sequence, &error) == DECANT_INVALID_ARGUMENT);
  CHECK(sequence == 0);
  request.prompt = out_of_range;
  request.n_prompt = 1;
  CHECK(decant_engine_submit(engine, &request, &sequence, &error) == DECANT_INVALID_ARGUMENT);
  for (const int64_t id : {int64_t{0}, int64_t{-1}, int64_t{99}, INT64_MAX, INT64_MIN}) {
    CHECK(decant_engine_cancel(engine, id, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_truncate(engine, id, 1, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_remove(engine, id, 0, 1, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_fork(engine, id, nullptr, &sequence, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_extend(engine, id, nullptr, 0, 1, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_set_sampling(engine, id, nullptr, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_engine_save(engine, id, "/no/such/folder/x", &error) == DECANT_INVALID_ARGUMENT);
  }
  must_be_ok(decant_engine_get_info(engine, &info, sizeof info, &error), error);
  CHECK(info.n_sequences == 0);
}

TEST_CASE("c_api: every option at its extremes works or is refused with a message") {
  using Options = decant_engine_options;
  decant_error error;
  const auto create = [&](const Options& options) {
    CEngine engine;
    const decant_status status = decant_engine_create(shared_c_model(), &options, engine.out(), &error);
    CHECK((status == DECANT_OK) == (engine.it != nullptr));
    CHECK((status == DECANT_OK) == (error.message[0] == '\0'));
    return status;
  };
  for (int32_t Options::*const field :
       {&Options::n_threads, &Options::n_ctx, &Options::max_sequences, &Options::max_step_tokens,
        &Options::prefill_chunk, &Options::step_target_ms, &Options::max_logit_rows, &Options::cache_k_type,
        &Options::cache_v_type, &Options::cache_block_tokens, &Options::cache_rollback_tokens}) {
    Options options = small_c_options();
    options.*field = std::numeric_limits<int32_t>::min();
    CHECK(create(options) == DECANT_INVALID_ARGUMENT);
    options.*field = -1;
    CHECK(create(options) == DECANT_INVALID_ARGUMENT);
    options.*field = std::numeric_limits<int32_t>::max();
    const decant_status most = create(options);
    CHECK((most == DECANT_INVALID_ARGUMENT || most == DECANT_OK));
  }
  for (size_t Options::*const field :
       {&Options::cache_limit_bytes, &Options::cache_prefix_bytes, &Options::memory_limit_bytes}) {
    Options options = small_c_options();
    options.*field = SIZE_MAX;
    CHECK(create(options) == DECANT_OK);
    options.*field = 1;
    const decant_status least = create(options);
    CHECK((least == DECANT_OK || least == DECANT_INVALID_ARGUMENT || least == DECANT_OVER_LIMIT));
  }
  Options options = small_c_options();
  options.isa = "no such isa";
  CHECK(create(options) == DECANT_INVALID_ARGUMENT);
  options.isa = "reference";
  CHECK(create(options) == DECANT_OK);

  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  using Sampling = decant_sampling_params;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (float Sampling::*const field : {&Sampling::temperature, &Sampling::top_p, &Sampling::min_p, &Sampling::typical_p,
                                       &Sampling::epsilon_cutoff, &Sampling::eta_cutoff, &Sampling::repetition_penalty})
    for (const float value : {nan, infinity, -infinity, -1.0F}) {
      Greedy greedy(1);
      greedy.sampling.*field = value;
      CHECK(decant_session_generate(session, "a", 1, &greedy.options, nullptr, nullptr, nullptr, &error) ==
            DECANT_INVALID_ARGUMENT);
      CHECK(error.message[0] != '\0');
    }
  for (const int32_t n : {-1, 21, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    Greedy greedy(1);
    greedy.options.top_logprobs = n;
    CHECK(decant_session_generate(session, "a", 1, &greedy.options, nullptr, nullptr, nullptr, &error) ==
          DECANT_INVALID_ARGUMENT);
  }
  Greedy greedy(1);
  greedy.options.n_stop_strings = 1;
  CHECK(decant_session_generate(session, "a", 1, &greedy.options, nullptr, nullptr, nullptr, &error) ==
        DECANT_INVALID_ARGUMENT);
  greedy.options.n_stop_strings = 0;
  greedy.options.timeout_ms = INT64_MAX;
  greedy.options.priority = std::numeric_limits<int32_t>::min();
  CHECK(decant_session_generate(session, "a", 1, &greedy.options, nullptr, nullptr, nullptr, &error) == DECANT_OK);
}

TEST_CASE("c_api: a logger, a profiler and a listener to the opening are told, with what they were given") {
  struct Told {
    int n_messages = 0, n_steps = 0, n_progress = 0;
    size_t n_tokens = 0;
  } told;
  decant_model_options model_options = initialised(decant_model_options_init);
  model_options.n_threads = 1;  // the opening thread then, which is the one that tells
  model_options.progress_user = &told;
  model_options.progress = [](void* user, size_t done, size_t total) {
    CHECK(done <= total);
    ++static_cast<Told*>(user)->n_progress;
  };
  decant_engine_options options = small_c_options();
  options.log_user = options.on_step_user = &told;
  options.log = [](void* user, int32_t level, const char* message, size_t n) {
    CHECK(level >= DECANT_LOG_TRACE);
    CHECK(std::strlen(message) == n);
    ++static_cast<Told*>(user)->n_messages;
  };
  options.on_step = [](void* user, const decant_step_profile* step) {
    auto& it = *static_cast<Told*>(user);
    ++it.n_steps;
    it.n_tokens += step->n_tokens;
    REQUIRE(step->struct_size == sizeof *step);
    REQUIRE(step->n_ops > 0);
    CHECK(step->n_threads == 2);
    for (size_t i = 1; i < step->n_ops; ++i) CHECK(step->ops[i]->begin_ns == step->ops[i - 1]->end_ns);
    for (size_t t = 0; t < step->n_threads; ++t)
      for (size_t i = 0; i < step->threads[t]->n_laps; ++i)
        CHECK(step->threads[t]->laps[i]->op < static_cast<int32_t>(step->n_ops));
  };
  CEngine engine;
  decant_error error;
  const std::string path = fixture("models/llama-gqa");
  must_be_ok(decant_engine_open(path.c_str(), &options, &model_options, engine.out(), &error), error);
  CHECK(told.n_progress > 0);
  CHECK(told.n_messages > 0);
  CHECK(say(c_session(engine), {1, 2, 3}, 5).ids.size() == 5);
  CHECK(told.n_steps >= 5);
  CHECK(told.n_tokens >= 5);
}

TEST_CASE("c_api: opening is stopped by a stop source and by its time") {
  decant_error error;
  CStop stop;
  must_be_ok(decant_stop_source_create(stop.out(), &error), error);
  decant_stop_source_request(stop);
  decant_model_options options = initialised(decant_model_options_init);
  options.stop = stop;
  CModel model;
  const std::string path = fixture("models/llama-gqa");
  CHECK(decant_model_open(path.c_str(), &options, model.out(), &error) == DECANT_CANCELLED);
  options.stop = nullptr;
  options.timeout_ms = 0;
  CHECK(decant_model_open(path.c_str(), &options, model.out(), &error) == DECANT_CANCELLED);
  options.timeout_ms = -1;
  options.numerics = 3;
  CHECK(decant_model_open(path.c_str(), &options, model.out(), &error) == DECANT_INVALID_ARGUMENT);
  CHECK(mentions(error, "numerics"));
  CHECK(model.it == nullptr);
}

TEST_CASE("c_api: a text ends before a stop string") {
  const CEngine engine = c_engine(shared_c_model());
  Greedy varied(30);
  varied.sampling.temperature = 1.0F;
  const auto generate = [&] {
    const CSession session = c_session(engine);
    decant_error error;
    CCompletion completion;
    must_be_ok(decant_session_generate(session, "a", 1, &varied.options, nullptr, nullptr, completion.out(), &error),
               error);
    return std::pair(std::string(completion->text), completion->finish);
  };
  const std::string whole = generate().first;
  const size_t begin = whole.find_first_of("abcdefghijklmnopqrstuvwxyz", whole.size() / 2);
  REQUIRE(begin != std::string::npos);
  const std::string end = whole.substr(begin, 1);
  const decant_text stops[] = {{"", 0}, {end.c_str(), DECANT_NUL_TERMINATED}};
  varied.options.stop_strings = stops;
  varied.options.n_stop_strings = 2;
  const auto [text, finish] = generate();
  CHECK(text == whole.substr(0, whole.find(end)));
  CHECK(finish == DECANT_FINISH_STOP_STRING);
}

}  // namespace decant::test
