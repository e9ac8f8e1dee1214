// SPDX-License-Identifier: Apache-2.0
// What the C ABI does is what the C++ API does.
#include <map>
#include <thread>

#include "tests/api/c_api_case.h"
#include "tests/support/decode.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

int64_t submit(decant_engine* engine, const std::vector<int32_t>& prompt, const decant_generation_options& options,
               bool keep = false) {
  decant_request request = initialised(decant_request_init);
  request.prompt = prompt.data();
  request.n_prompt = prompt.size();
  request.generation = &options;
  request.keep = keep ? 1 : 0;
  int64_t sequence = 0;
  decant_error error;
  must_be_ok(decant_engine_submit(engine, &request, &sequence, &error), error);
  CHECK(sequence > 0);
  return sequence;
}

/// Steps until nothing is left to do.
std::map<int64_t, Said> run(decant_engine* engine) {
  std::map<int64_t, Said> said;
  const decant_step_report* report = nullptr;
  decant_error error;
  do {
    must_be_ok(decant_engine_step(engine, nullptr, &report, &error), error);
    REQUIRE(report->struct_size == sizeof *report);
    for (size_t i = 0; i < report->n_pieces; ++i) said[report->pieces[i]->sequence].add(report->pieces[i]);
  } while (report->idle == 0);
  return said;
}

std::vector<int32_t> ids_of(decant_session* session) {
  size_t n = 0;
  decant_error error;
  must_be_ok(decant_session_ids(session, nullptr, 0, &n, &error), error);
  std::vector<int32_t> ids(n);
  must_be_ok(decant_session_ids(session, ids.data(), n, &n, &error), error);
  return ids;
}

}  // namespace

TEST_CASE("c_api: a stream has the C++ API's pieces, bit for bit") {
  Greedy greedy(24);
  greedy.options.top_logprobs = 3;
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  const std::unique_ptr<Engine> cpp_engine = must(Engine::create(small_model(), small_options()));
  Session cpp_session = must(cpp_engine->session());
  GenerationOptions cpp_options = test::greedy(24);
  cpp_options.top_logprobs = 3;
  for (const char* const prompt : {"Hello there, ", "and then"}) {
    CStream stream;
    decant_error error;
    must_be_ok(decant_session_stream(session, prompt, DECANT_NUL_TERMINATED, &greedy.options, stream.out(), &error),
               error);
    Stream expected = cpp_session.stream(prompt, cpp_options);
    for (const Piece& want : expected) {
      const decant_piece* piece = nullptr;
      must_be_ok(decant_stream_next(stream, &piece, &error), error);
      REQUIRE(piece != nullptr);
      CHECK(piece->token_id == want.token_id);
      CHECK(piece->logprob == want.logprob);
      CHECK(std::string(piece->text, piece->n_text_bytes) == want.text);
      CHECK(std::string(piece->bytes, piece->n_bytes) == want.bytes);
      CHECK(piece->finish == static_cast<int32_t>(want.finish));
      CHECK(piece->is_special == (want.is_special ? 1 : 0));
      CHECK(piece->is_end == (want.is_end ? 1 : 0));
      REQUIRE(piece->n_top_logprobs == want.top_logprobs.size());
      for (size_t i = 0; i < want.top_logprobs.size(); ++i) {
        CHECK(piece->top_logprobs[i].token_id == want.top_logprobs[i].token_id);
        CHECK(piece->top_logprobs[i].logprob == want.top_logprobs[i].logprob);
      }
      CHECK(piece->usage->n_prompt_tokens == want.usage.n_prompt_tokens);
      CHECK(piece->usage->n_generated_tokens == want.usage.n_generated_tokens);
      CHECK(piece->usage->first_token_ns > 0);
    }
    CHECK(drain(stream) == Said());
    CHECK(decant_stream_finish(stream) == DECANT_FINISH_LENGTH);
    decant_usage usage;
    must_be_ok(decant_stream_get_usage(stream, &usage, sizeof usage, &error), error);
    CHECK(usage.n_generated_tokens == 24);
  }
  CHECK(decant_session_n_tokens(session) == cpp_session.n_tokens());
  CHECK(ids_of(session) == must(cpp_session.ids()));
}

TEST_CASE("c_api: generate gives the text as a whole, and its callback may stop or cancel it") {
  const CEngine engine = c_engine(shared_c_model());
  const Greedy greedy(20);
  decant_error error;
  struct Listener {
    Said said;
    size_t n_wanted;
    int32_t answer;
  };
  const auto listen = [](void* user, const decant_piece* piece) -> int32_t {
    auto& listener = *static_cast<Listener*>(user);
    listener.said.add(piece);
    return listener.said.ids.size() == listener.n_wanted ? listener.answer : static_cast<int32_t>(DECANT_FLOW_GO_ON);
  };
  const std::vector<int32_t> all = greedy_ids(small_model(), std::vector<int32_t>{1, 2, 3}, 20, small_options());
  struct Answer {
    int32_t flow, finish;
  };
  for (const Answer answer :
       {Answer{DECANT_FLOW_STOP, DECANT_FINISH_STOP}, Answer{DECANT_FLOW_CANCEL, DECANT_FINISH_CANCELLED},
        Answer{77, DECANT_FINISH_CANCELLED}, Answer{DECANT_FLOW_GO_ON, DECANT_FINISH_LENGTH}}) {
    CAPTURE(answer.flow);
    const CSession session = c_session(engine);
    Listener listener{{}, 5, answer.flow};
    CCompletion completion;
    const int32_t prompt[] = {1, 2, 3};
    must_be_ok(
        decant_session_generate_ids(session, prompt, 3, &greedy.options, listen, &listener, completion.out(), &error),
        error);
    const size_t n = answer.flow == DECANT_FLOW_GO_ON ? 20 : 5;
    CHECK(std::vector<int32_t>(completion->ids, completion->ids + completion->n_ids) ==
          std::vector<int32_t>(all.begin(), all.begin() + static_cast<ptrdiff_t>(n)));
    CHECK(std::string(completion->text) == listener.said.text);
    CHECK(completion->n_text_bytes == listener.said.text.size());
    CHECK(completion->finish == answer.finish);
    CHECK(completion->usage->n_generated_tokens == static_cast<int32_t>(n));
    CHECK(decant_session_n_tokens(session) == static_cast<int32_t>(3 + n));
  }
  const CSession session = c_session(engine);
  must_be_ok(decant_session_generate(session, "x", 1, &greedy.options, nullptr, nullptr, nullptr, &error), error);
  CHECK(decant_session_n_tokens(session) > 20);
}

TEST_CASE("c_api: sequences that share steps generate what they generate in C++") {
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}, std::vector<int32_t>(50, 7), {400, 3, 9, 12}};
  const CEngine engine = c_engine(shared_c_model());
  const Greedy greedy(20);
  std::vector<int64_t> sequences;
  for (const auto& prompt : prompts) sequences.push_back(submit(engine, prompt, greedy.options));
  const std::map<int64_t, Said> said = run(engine);
  for (size_t i = 0; i < prompts.size(); ++i) {
    CHECK(said.at(sequences[i]).ids == greedy_ids(small_model(), prompts[i], 20, small_options()));
    CHECK(said.at(sequences[i]).finish == DECANT_FINISH_LENGTH);
  }
}

TEST_CASE("c_api: a report has the logits of every position that was asked for") {
  decant_engine_options options = small_c_options();
  options.max_logit_rows = 32;
  const CEngine engine = c_engine(shared_c_model(), options);
  decant_request request = initialised(decant_request_init);
  const Greedy none(0);
  const int32_t prompt[] = {4, 5, 6, 7};
  request.prompt = prompt;
  request.n_prompt = 4;
  request.all_logits = 1;
  request.detokenize = 0;
  request.generation = &none.options;
  decant_error error;
  int64_t sequence = 0;
  must_be_ok(decant_engine_submit(engine, &request, &sequence, &error), error);
  const decant_step_report* report = nullptr;
  must_be_ok(decant_engine_step(engine, nullptr, &report, &error), error);
  EngineOptions same = small_options();
  same.max_logit_rows = 32;
  const Logits expected = prompt_logits(small_model(), std::vector<int32_t>{4, 5, 6, 7}, same);
  REQUIRE(report->n_logits == 1);
  const decant_logit_rows& rows = *report->logits[0];
  CHECK(rows.sequence == sequence);
  CHECK(rows.first_pos == 0);
  REQUIRE(rows.n_rows == 4);
  for (int r = 0; r < 4; ++r) {
    const float* const row = rows.logits + static_cast<size_t>(r) * rows.row_stride;
    CHECK(std::equal(expected.row(r).begin(), expected.row(r).end(), row));
  }
  CHECK(report->n_prefill_tokens == 4);
  REQUIRE(report->n_pieces == 1);
  CHECK(report->pieces[0]->token_id == -1);
  CHECK(report->pieces[0]->n_text_bytes == 0);
}

TEST_CASE("c_api: kept sequences are forked, cut, extended, saved and restored as in C++") {
  const TempDir folder;
  const CEngine engine = c_engine(shared_c_model());
  const Greedy four(4), eight(8);
  decant_error error;
  const std::vector<int32_t> all = greedy_ids(small_model(), std::vector<int32_t>{1, 2, 3}, 12, small_options());
  const int64_t sequence = submit(engine, {1, 2, 3}, four.options, true);
  CHECK(run(engine).at(sequence).ids == std::vector<int32_t>(all.begin(), all.begin() + 4));

  decant_sequence_info info;
  must_be_ok(decant_engine_get_sequence_info(engine, sequence, &info, sizeof info, &error), error);
  CHECK(info.n_tokens == 7);
  CHECK(info.paused == 1);
  decant_sampling_params sampling;
  must_be_ok(decant_engine_get_sampling(engine, sequence, &sampling, sizeof sampling, &error), error);
  CHECK(sampling.temperature == 0.0F);
  sampling.seed = 17;
  must_be_ok(decant_engine_set_sampling(engine, sequence, &sampling, &error), error);
  must_be_ok(decant_engine_get_sampling(engine, sequence, &sampling, sizeof sampling, &error), error);
  CHECK(sampling.seed == 17);

  const std::string path = folder.path("sequence");
  must_be_ok(decant_engine_save(engine, sequence, path.c_str(), &error), error);
  int64_t fork = 0, restored = 0;
  must_be_ok(decant_engine_fork(engine, sequence, &four.sampling, &fork, &error), error);
  must_be_ok(decant_engine_restore(engine, path.c_str(), &restored, &error), error);
  must_be_ok(decant_engine_extend(engine, fork, nullptr, 0, 8, &error), error);
  must_be_ok(decant_engine_extend_with(engine, restored, nullptr, 0, &eight.options, &error), error);
  std::map<int64_t, Said> said = run(engine);
  CHECK(said.at(fork).ids == std::vector<int32_t>(all.begin() + 4, all.end()));
  CHECK(said.at(restored).ids == std::vector<int32_t>(all.begin() + 4, all.end()));

  must_be_ok(decant_engine_truncate(engine, fork, 5, &error), error);
  size_t n = 0;
  must_be_ok(decant_engine_sequence_ids(engine, fork, nullptr, 0, &n, &error), error);
  std::vector<int32_t> ids(n);
  must_be_ok(decant_engine_sequence_ids(engine, fork, ids.data(), n, &n, &error), error);
  CHECK(ids == std::vector<int32_t>{1, 2, 3, all[0], all[1]});
  must_be_ok(decant_engine_remove(engine, fork, 1, 2, &error), error);
  must_be_ok(decant_engine_sequence_ids(engine, fork, nullptr, 0, &n, &error), error);
  CHECK(n == 3);
  for (const int64_t it : {sequence, fork, restored}) must_be_ok(decant_engine_cancel(engine, it, &error), error);
  decant_engine_info now;
  must_be_ok(decant_engine_get_info(engine, &now, sizeof now, &error), error);
  CHECK(now.n_sequences == 0);
  CHECK(now.n_threads == 2);
}

TEST_CASE("c_api: sessions fork, cut themselves, save and come back") {
  const TempDir folder;
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  decant_error error;
  const std::vector<int32_t> all = greedy_ids(small_model(), std::vector<int32_t>{1, 2, 3}, 12, small_options());
  const std::vector<int32_t> first(all.begin(), all.begin() + 4), rest(all.begin() + 4, all.end());
  CHECK(say(session, {1, 2, 3}, 4).ids == first);
  const std::string path = folder.path("session");
  must_be_ok(decant_session_save(session, path.c_str(), &error), error);
  CSession fork, restored;
  must_be_ok(decant_session_fork(session, fork.out(), &error), error);
  must_be_ok(decant_engine_restore_session(engine, path.c_str(), restored.out(), &error), error);
  for (decant_session* const it : {session.it, fork.it, restored.it}) CHECK(say(it, {}, 8).ids == rest);
  must_be_ok(decant_session_truncate(fork, 7, &error), error);
  CHECK(decant_session_n_tokens(fork) == 7);
  CHECK(say(fork, {}, 8).ids == rest);
  CHECK(decant_session_truncate(fork, 100, &error) == DECANT_INVALID_ARGUMENT);
  CHECK(ids_of(fork) == ids_of(session));
}

TEST_CASE("c_api: handles may be freed in any order") {
  CModel model = open_c_model(fixture("models/llama-gqa"));
  CEngine engine = c_engine(model);
  decant_model_free(model.out());
  CSession session = c_session(engine);
  CHECK(say(session, {1, 2, 3}, 3).ids.size() == 3);
  decant_engine_free(engine.out());
  CHECK(say(session, {}, 3).ids.size() == 3);
  const Greedy greedy(3);
  CStream stream;
  decant_error error;
  must_be_ok(decant_session_stream_ids(session, nullptr, 0, &greedy.options, stream.out(), &error), error);
  decant_session_free(session.out());
  CHECK(drain(stream).ids.size() == 3);
}

TEST_CASE("c_api: a second stream ends the first, whose handle stays good") {
  const CEngine engine = c_engine(shared_c_model());
  const CSession session = c_session(engine);
  const Greedy greedy(8);
  decant_error error;
  CStream first, second;
  const int32_t prompt[] = {1, 2, 3};
  must_be_ok(decant_session_stream_ids(session, prompt, 3, &greedy.options, first.out(), &error), error);
  const decant_piece* piece = nullptr;
  must_be_ok(decant_stream_next(first, &piece, &error), error);
  REQUIRE(piece != nullptr);
  must_be_ok(decant_session_stream_ids(session, prompt, 3, &greedy.options, second.out(), &error), error);
  CHECK(drain(first).ids.empty());
  CHECK(drain(second).ids.size() == 8);
  CHECK(decant_session_n_tokens(session) == 3 + 1 + 3 + 8);
}

TEST_CASE("c_api: a session is cancelled from another thread, by a stop source and by its time") {
  const CEngine engine = c_engine(shared_c_model());
  decant_error error;
  CStop stop;
  must_be_ok(decant_stop_source_create(stop.out(), &error), error);
  for (const int32_t how : {DECANT_FINISH_CANCELLED, DECANT_FINISH_DEADLINE, DECANT_FINISH_NONE}) {
    CAPTURE(how);
    const CSession session = c_session(engine);
    Greedy greedy(-1);
    if (how == DECANT_FINISH_DEADLINE) greedy.options.timeout_ms = 0;
    if (how == DECANT_FINISH_NONE) greedy.options.stop = stop;
    CStream stream;
    const int32_t prompt[] = {1, 2, 3};
    must_be_ok(decant_session_stream_ids(session, prompt, 3, &greedy.options, stream.out(), &error), error);
    if (how == DECANT_FINISH_CANCELLED) std::thread([&] { decant_session_cancel(session); }).join();
    if (how == DECANT_FINISH_NONE) std::thread([&] { decant_stop_source_request(stop); }).join();
    const Said said = drain(stream);
    CHECK(said.ids.empty());
    CHECK(said.finish == (how == DECANT_FINISH_NONE ? static_cast<int32_t>(DECANT_FINISH_CANCELLED) : how));
    CHECK(say(session, {}, 2).ids.size() == 2);
  }
  submit(engine, {1, 2}, Greedy(2).options);
  const decant_step_report* report = nullptr;
  CHECK(decant_engine_step(engine, stop, &report, &error) == DECANT_CANCELLED);
  CHECK(report == nullptr);
  CHECK(error.message[0] != '\0');
  CHECK(run(engine).size() == 1);
}

TEST_CASE("c_api: known prefixes are saved, restored and forgotten") {
  const TempDir folder;
  const CEngine engine = c_engine(shared_c_model());
  decant_error error;
  submit(engine, std::vector<int32_t>(40, 9), Greedy(2).options);
  run(engine);
  decant_cache_stats stats;
  must_be_ok(decant_engine_get_cache_stats(engine, &stats, sizeof stats, &error), error);
  CHECK(stats.n_prefix_tokens >= 40);
  const std::string path = folder.path("prefixes");
  must_be_ok(decant_engine_save_prefixes(engine, path.c_str(), &error), error);
  must_be_ok(decant_engine_forget_prefixes(engine, "another", DECANT_NUL_TERMINATED, &error), error);
  must_be_ok(decant_engine_forget_prefixes(engine, nullptr, 0, &error), error);
  must_be_ok(decant_engine_get_cache_stats(engine, &stats, sizeof stats, &error), error);
  CHECK(stats.n_prefix_tokens == 0);
  int64_t n = 0;
  must_be_ok(decant_engine_restore_prefixes(engine, path.c_str(), &n, &error), error);
  CHECK(n >= 40);
  const int64_t sequence = submit(engine, std::vector<int32_t>(40, 9), Greedy(2).options);
  decant_sequence_info info;
  must_be_ok(decant_engine_get_sequence_info(engine, sequence, &info, sizeof info, &error), error);
  CHECK(info.n_prefix_tokens > 0);
}

TEST_CASE("c_api: what a request would take is known before") {
  CEngine engine;
  decant_engine_options options = small_c_options();
  decant_error error;
  const std::string path = fixture("models/llama-gqa");
  options.memory_limit_bytes = 1 << 20;
  CHECK(decant_engine_open(path.c_str(), &options, nullptr, engine.out(), &error) == DECANT_OVER_LIMIT);
  CHECK(engine.it == nullptr);
  CHECK(error.message[0] != '\0');
  options.memory_limit_bytes = 64 << 20;
  must_be_ok(decant_engine_open(path.c_str(), &options, nullptr, engine.out(), &error), error);
  decant_request request = initialised(decant_request_init);
  request.prompt_text = "Hello";
  decant_admission admission;
  must_be_ok(decant_engine_admit(engine, &request, &admission, sizeof admission, &error), error);
  CHECK(admission.fits == 1);
  CHECK(admission.needed_bytes > 0);
  CHECK(admission.needed_bytes <= admission.available_bytes);
  decant_memory_stats memory;
  must_be_ok(decant_engine_get_memory_stats(engine, &memory, sizeof memory, &error), error);
  CHECK(memory.limit_bytes == options.memory_limit_bytes);
  CHECK(memory.total_bytes <= memory.limit_bytes);
  size_t needed = 0;
  must_be_ok(decant_engine_cache_bytes_needed(engine, 100, &needed, &error), error);
  CHECK(needed > 0);
  CHECK(decant_engine_cache_bytes_needed(engine, -1, &needed, &error) == DECANT_INVALID_ARGUMENT);
}

TEST_CASE("c_api: the tokenizer's answers are those of C++") {
  const decant_model* const model = shared_c_model();
  const Tokenizer& tokenizer = *must(small_model()->tokenizer());
  decant_error error;
  for (const std::string& text : {std::string("Hello there"), std::string(), std::string("a\0b", 3)}) {
    for (const bool add_special : {false, true}) {
      const std::vector<int32_t> expected = must(tokenizer.encode(text, {.add_special = add_special}));
      size_t n = 0;
      must_be_ok(decant_model_encode(model, text.data(), text.size(), add_special, nullptr, 0, &n, &error), error);
      std::vector<int32_t> ids(n + 1, -7);
      must_be_ok(decant_model_encode(model, text.data(), text.size(), add_special, ids.data(), n, &n, &error), error);
      CHECK(ids.back() == -7);
      ids.pop_back();
      CHECK(ids == expected);
      char decoded[64];
      must_be_ok(decant_model_decode(model, ids.data(), n, 1, decoded, sizeof decoded, &n, &error), error);
      CHECK(std::string(decoded, n) == tokenizer.decode(expected));
    }
  }
  char bytes[64];
  size_t n = 0;
  int32_t answer = 0;
  for (const int32_t id : {0, 65, 300}) {
    std::string expected;
    tokenizer.append_bytes(id, expected);
    must_be_ok(decant_model_token_bytes(model, id, bytes, sizeof bytes, &n, &error), error);
    CHECK(std::string(bytes, n) == expected);
    must_be_ok(decant_model_token_entry(model, id, bytes, sizeof bytes, &n, &error), error);
    CHECK(std::string(bytes, n) == tokenizer.entry(id));
    must_be_ok(decant_model_token_id(model, bytes, n, &answer, &error), error);
    CHECK(answer == tokenizer.id_of(tokenizer.entry(id)));
    must_be_ok(decant_model_token_is_special(model, id, &answer, &error), error);
    CHECK(answer == (tokenizer.is_special(id) ? 1 : 0));
  }
  must_be_ok(decant_model_token_id(model, "no such entry", DECANT_NUL_TERMINATED, &answer, &error), error);
  CHECK(answer == -1);
  for (const int32_t id : {-1, tokenizer.vocab_size()}) {
    CHECK(decant_model_token_bytes(model, id, bytes, sizeof bytes, &n, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_model_token_entry(model, id, bytes, sizeof bytes, &n, &error) == DECANT_INVALID_ARGUMENT);
    CHECK(decant_model_token_is_special(model, id, &answer, &error) == DECANT_INVALID_ARGUMENT);
  }
}

TEST_CASE("c_api: a model says what it is") {
  decant_error error;
  decant_model_info info;
  const ModelInfo& expected = small_model()->info();
  must_be_ok(decant_model_get_info(shared_c_model(), &info, sizeof info, &error), error);
  CHECK(info.path == expected.path);
  CHECK(info.architecture == expected.architecture);
  CHECK(info.fingerprint == expected.fingerprint);
  CHECK(info.vocab_size == expected.vocab_size);
  CHECK(info.n_layers == expected.n_layers);
  CHECK(info.has_tokenizer == 1);
  CHECK(std::vector<int32_t>(info.end_ids, info.end_ids + info.n_end_ids) ==
        std::vector<int32_t>(small_model()->end_ids().begin(), small_model()->end_ids().end()));
  decant_generation_defaults defaults;
  must_be_ok(decant_model_get_generation_defaults(shared_c_model(), &defaults, sizeof defaults, &error), error);
  CHECK(defaults.top_k == small_model()->generation_defaults().top_k.value_or(-1));
  decant_load_times times;
  must_be_ok(decant_model_get_load_times(shared_c_model(), &times, sizeof times, &error), error);
  CHECK(times.n_threads >= 1);
  CModel missing;
  CHECK(decant_model_open("/no/such/model.gguf", nullptr, missing.out(), &error) == DECANT_IO);
  CHECK(std::string(error.message).find("/no/such/model.gguf") != std::string::npos);
}

}  // namespace decant::test
