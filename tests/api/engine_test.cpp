// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include <doctest/doctest.h>

#include "decant/profile.h"

#include "engine/engine_impl.h"
#include "tests/support/decode.h"
#include "tests/support/failing_new.h"
#include "tests/support/fixtures.h"

namespace decant::test {

namespace {

Request request_of(std::vector<int32_t> prompt, int max_new_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = max_new_tokens;
  request.ignore_end = true;
  return request;
}

/// Tokens of every sequence until all have ended.
std::map<SequenceId, std::vector<int32_t>> run(Engine& engine) {
  std::map<SequenceId, std::vector<int32_t>> ids;
  while (engine.n_sequences() > 0)
    for (const Piece& event : must(engine.step()).pieces)
      if (event.token_id >= 0) ids[event.sequence].push_back(event.token_id);
  return ids;
}

}  // namespace

TEST_CASE("engine: a decode step without text calls no allocator, observed or not") {
  for (const char* const name :
       {"models/llama-gqa", "models/mistral", "gguf/llama-gqa-q8_0.gguf", "gguf/llama-kmix.gguf"}) {
    CAPTURE(name);
    EngineOptions options = small_options();
    options.cache.prefix_bytes = 0;  // a model with windows notes prefixes as it goes
    int n_told = 0;
    options.on_step = [&n_told](const StepProfile&) { ++n_told; };
    const std::unique_ptr<Engine> engine = must(Engine::create(open_model(fixture(name)), options));
    Request sampled = request_of({1, 2, 3}, 200);
    sampled.sampling = {};
    sampled.sampling.top_k = 40;
    sampled.sampling.top_p = 0.9F;
    sampled.sampling.typical_p = 0.9F;
    sampled.sampling.repetition_penalty = 1.1F;
    sampled.sampling.no_repeat_ngram_size = 5;
    sampled.top_logprobs = 20;
    sampled.detokenize = false;
    must(engine->submit(sampled));
    Request greedy = request_of({4, 5, 6, 7}, 200);
    greedy.detokenize = false;
    must(engine->submit(greedy));
    for (int i = 0; i < 3; ++i) must(engine->step());
    const int64_t before = n_allocations();
    for (int i = 0; i < 100; ++i) {
      const Result<StepReport> report = engine->step();
      REQUIRE(report.ok());
    }
    CHECK(n_allocations() == before);
    CHECK(n_told == 103);
  }
}

TEST_CASE("engine: a prefill step calls no allocator but for the cache's slab") {
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), small_options()));
  std::vector<int32_t> prompt(200, 9);
  must(engine->submit(request_of(prompt, 1)));
  must(engine->step());
  const int64_t before = n_allocations();
  for (int i = 0; i < 4; ++i) {
    const Result<StepReport> report = engine->step();
    REQUIRE(report.ok());
  }
  CHECK(n_allocations() == before);
}

TEST_CASE("engine: sequences that share steps generate what they generate alone") {
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}, std::vector<int32_t>(50, 7), {400, 3, 9, 12}};
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), small_options()));
  std::vector<SequenceId> ids;
  for (const auto& prompt : prompts) ids.push_back(must(engine->submit(request_of(prompt, 20))));
  const std::map<SequenceId, std::vector<int32_t>> together = run(*engine);
  for (size_t i = 0; i < prompts.size(); ++i)
    CHECK(together.at(ids[i]) == greedy_ids(small_model(), prompts[i], 20, small_options()));
}

TEST_CASE("engine: the same seed gives the same text, in whatever company") {
  Request request = request_of({5, 6, 7}, 30);
  request.sampling = {};
  request.sampling.seed = 42;
  const std::unique_ptr<Engine> alone = must(Engine::create(small_model(), small_options()));
  const SequenceId a = must(alone->submit(request));
  const std::vector<int32_t> expected = run(*alone).at(a);
  CHECK(expected.size() == 30);

  const std::unique_ptr<Engine> busy = must(Engine::create(small_model(), small_options()));
  must(busy->submit(request_of({1}, 10)));
  const SequenceId b = must(busy->submit(request));
  CHECK(run(*busy).at(b) == expected);

  request.sampling.seed = 43;
  const SequenceId c = must(alone->submit(request));
  CHECK(run(*alone).at(c) != expected);
}

TEST_CASE("engine: generation ends at max_new_tokens and at the context's end, with `length`") {
  EngineOptions options = small_options();
  options.n_ctx = 10;
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), options));
  must(engine->submit(request_of({1, 2, 3, 4}, -1)));
  int n = 0;
  FinishReason last = FinishReason::none;
  while (engine->n_sequences() > 0)
    for (const Piece& event : must(engine->step()).pieces) {
      ++n;
      last = event.finish;
    }
  CHECK(n == 6);
  CHECK(last == FinishReason::length);

  must(engine->submit(request_of({1, 2, 3}, 2)));
  CHECK(run(*engine).begin()->second.size() == 2);

  // A prompt that fills the context is computed, but nothing can follow it; nor where nothing was asked for.
  for (Request request : {request_of(std::vector<int32_t>(10, 1), -1), request_of({1, 2}, 0)}) {
    must(engine->submit(request));
    const StepReport report = must(engine->step());
    REQUIRE(report.pieces.size() == 1);
    CHECK(report.pieces[0].token_id == -1);
    CHECK(report.pieces[0].finish == FinishReason::length);
  }
  CHECK(engine->n_sequences() == 0);
}

TEST_CASE("engine: an end id stops the sequence, unless it is told to go on") {
  const std::shared_ptr<const Model> model = small_model();
  REQUIRE(model->end_ids().size() == 1);
  const int32_t end = model->end_ids()[0];
  const std::unique_ptr<Engine> engine = must(Engine::create(model, small_options()));
  // At a high temperature the end id is one of 512 about as likely ones: a seed that meets it is soon found.
  Request request = request_of({1, 2, 3}, -1);
  request.sampling = {};
  request.sampling.temperature = 50.0F;
  request.ignore_end = false;
  Piece last;
  while (last.finish != FinishReason::stop && request.sampling.seed < 20) {
    ++request.sampling.seed;
    must(engine->submit(request));
    while (engine->n_sequences() > 0)
      for (const Piece& event : must(engine->step()).pieces) last = event;
  }
  REQUIRE(last.finish == FinishReason::stop);
  CHECK(last.token_id == end);

  request.ignore_end = true;
  const SequenceId id = must(engine->submit(request));
  const std::vector<int32_t> ids = run(*engine).at(id);
  CHECK(ids.size() == static_cast<size_t>(engine->n_ctx()) - 3);
}

TEST_CASE("engine: what is wrong with a request or an option is said, and nothing changes") {
  const std::shared_ptr<const Model> model = small_model();
  const std::unique_ptr<Engine> engine = must(Engine::create(model, small_options()));
  const int vocab = model->info().vocab_size;
  CHECK(code_of(engine->submit(request_of({}, 1))) == ErrorCode::invalid_argument);
  CHECK(code_of(engine->submit(request_of({vocab}, 1))) == ErrorCode::invalid_argument);
  CHECK(code_of(engine->submit(request_of({-1}, 1))) == ErrorCode::invalid_argument);
  CHECK(code_of(engine->submit(request_of(std::vector<int32_t>(static_cast<size_t>(engine->n_ctx()) + 1, 1), 1))) ==
        ErrorCode::invalid_argument);
  Request bad = request_of({1}, 1);
  bad.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  CHECK(code_of(engine->submit(bad)) == ErrorCode::invalid_argument);
  CHECK(engine->n_sequences() == 0);
  CHECK(engine->cache_stats().used_bytes == 0);
  CHECK(must(engine->step()).idle);
  CHECK(code_of(engine->cancel(0)) == ErrorCode::invalid_argument);
  CHECK(code_of(engine->cancel(77)) == ErrorCode::invalid_argument);

  for (int i = 0; i < 3; ++i) must(engine->submit(request_of({1}, 5)));
  CHECK(code_of(engine->submit(request_of({1}, 5))) == ErrorCode::cache_full);

  const auto refuses = [&](auto change) {
    EngineOptions options = small_options();
    change(options);
    const Result<std::unique_ptr<Engine>> created = Engine::create(model, options);
    return created ? ErrorCode::ok : created.error().code;
  };
  CHECK(refuses([](EngineOptions& o) { o.n_threads = -1; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.n_threads = 1 << 30; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.isa = "sse9"; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.n_ctx = 1 << 30; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.max_sequences = 0; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.max_step_tokens = 1; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.prefill_chunk = -5; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.cache.block_tokens = 17; }) == ErrorCode::invalid_argument);
  CHECK(refuses([](EngineOptions& o) { o.cache.limit_bytes = 1; }) == ErrorCode::invalid_argument);
  CHECK(code_of(Engine::create(nullptr)) == ErrorCode::invalid_argument);
}

TEST_CASE("engine: a cancelled step changes nothing, and the next one gives the same tokens") {
  const std::vector<int32_t> prompt(40, 11);
  const std::vector<int32_t> expected = greedy_ids(small_model(), prompt, 10, small_options());
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), small_options()));
  const SequenceId id = must(engine->submit(request_of(prompt, 10)));
  std::vector<int32_t> ids;
  while (engine->n_sequences() > 0) {
    std::stop_source stop;
    stop.request_stop();
    const CacheStats before = engine->cache_stats();
    CHECK(code_of(engine->step(stop.get_token())) == ErrorCode::cancelled);
    CHECK(engine->cache_stats().used_bytes == before.used_bytes);
    for (const Piece& event : must(engine->step()).pieces) ids.push_back(event.token_id);
  }
  CHECK(ids == expected);
  CHECK(code_of(engine->cancel(id)) == ErrorCode::invalid_argument);
}

TEST_CASE("engine: cancelling gives every block back") {
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), small_options()));
  const SequenceId id = must(engine->submit(request_of(std::vector<int32_t>(30, 2), 50)));
  must(engine->step());
  must(engine->step());
  CHECK(engine->cache_stats().used_bytes > 0);
  must(engine->cancel(id));
  CHECK(engine->cache_stats().used_bytes == engine->cache_stats().prefix_bytes);
  CHECK(engine->n_sequences() == 0);
  engine->forget_prefixes();
  CHECK(engine->cache_stats().reserved_bytes == 0);
  CHECK(engine->impl().cache->check_invariants().empty());
}

TEST_CASE("engine: when the cache is full those that decode go on, and the prompt waits for room") {
  EngineOptions options = small_options();
  const std::unique_ptr<Engine> probe = must(Engine::create(small_model(), options));
  const size_t block = probe->impl().cache->bytes_needed(1);
  options.cache.limit_bytes = 3 * block;  // 48 tokens
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), options));
  const SequenceId first = must(engine->submit(request_of(std::vector<int32_t>(20, 3), 12)));
  const SequenceId second = must(engine->submit(request_of(std::vector<int32_t>(30, 4), 2)));
  const std::map<SequenceId, std::vector<int32_t>> ids = run(*engine);
  CHECK(ids.at(first) == greedy_ids(small_model(), std::vector<int32_t>(20, 3), 12, small_options()));
  CHECK(ids.at(second) == greedy_ids(small_model(), std::vector<int32_t>(30, 4), 2, small_options()));

  // One that can never fit says so, again and again, and can be cancelled.
  const SequenceId big = must(engine->submit(request_of(std::vector<int32_t>(100, 5), 1)));
  ErrorCode code = ErrorCode::ok;
  for (int i = 0; i < 8; ++i) {
    const Result<StepReport> report = engine->step();
    code = report ? ErrorCode::ok : report.error().code;
  }
  CHECK(code == ErrorCode::cache_full);
  must(engine->cancel(big));
  CHECK(engine->cache_stats().used_bytes == engine->cache_stats().prefix_bytes);
}

TEST_CASE("engine: two engines over one model don't meet") {
  const std::unique_ptr<Engine> a = must(Engine::create(small_model(), small_options()));
  EngineOptions options = small_options();
  options.isa = "reference";
  options.n_threads = 1;
  const std::unique_ptr<Engine> b = must(Engine::create(small_model(), options));
  const SequenceId in_a = must(a->submit(request_of({1, 2, 3}, 20))), in_b = must(b->submit(request_of({1, 2, 3}, 20)));
  std::vector<int32_t> from_a, from_b;
  while (a->n_sequences() + b->n_sequences() > 0) {
    for (const Piece& event : must(a->step()).pieces) from_a.push_back(event.token_id);
    for (const Piece& event : must(b->step()).pieces) from_b.push_back(event.token_id);
  }
  CHECK(in_a == in_b);
  CHECK(from_a == from_b);
}

TEST_CASE("engine: the log probability is that of the raw logits") {
  const std::unique_ptr<Engine> engine = must(Engine::create(small_model(), small_options()));
  Request request = request_of({1, 2, 3}, 5);
  request.sampling.temperature = 0.3F;
  request.sampling.top_k = 3;
  request.sampling.repetition_penalty = 1.5F;
  must(engine->submit(request));
  while (engine->n_sequences() > 0) {
    const StepReport report = must(engine->step());
    REQUIRE(report.pieces.size() == 1);
    REQUIRE(report.logits.size() == 1);
    double sum = 0.0;
    for (int i = 0; i < small_model()->info().vocab_size; ++i)
      sum += std::exp(static_cast<double>(report.logits[0].logits[i]));
    const double expected = report.logits[0].logits[report.pieces[0].token_id] - std::log(sum);
    CHECK(std::fabs(report.pieces[0].logprob - expected) < 1e-5);
  }
}

TEST_CASE("engine: every allocation that fails once gives an error, leaks nothing and changes nothing") {
  const std::shared_ptr<const Model> model = small_model();
  const std::vector<int32_t> expected = greedy_ids(model, std::vector<int32_t>{1, 2, 3}, 4, small_options());
  for (int64_t n = 0; n < 2000; ++n) {
    std::optional<FailingNew> failing(n);
    Result<std::unique_ptr<Engine>> engine = Engine::create(model, small_options());
    failing.reset();
    if (!engine) {
      CHECK((engine.error().code == ErrorCode::out_of_memory || engine.error().code == ErrorCode::io));
      continue;
    }
    // submit takes ownership of a copy that is made outside
    Request request = request_of({1, 2, 3}, 4);
    failing.emplace(n % 7);
    Result<SequenceId> id = (*engine)->submit(std::move(request));
    failing.reset();
    if (!id) {
      CHECK(id.error().code == ErrorCode::out_of_memory);
      CHECK((*engine)->n_sequences() == 0);
      must((*engine)->submit(request_of({1, 2, 3}, 4)));
    }
    failing.emplace(0);
    const Result<StepReport> first = (*engine)->step();
    failing.reset();
    std::vector<int32_t> ids;
    if (first)
      for (const Piece& event : first->pieces) ids.push_back(event.token_id);
    else
      CHECK(first.error().code == ErrorCode::out_of_memory);
    while ((*engine)->n_sequences() > 0)
      for (const Piece& event : must((*engine)->step()).pieces) ids.push_back(event.token_id);
    CHECK(ids == expected);
    if (n > 400) break;
  }
}

}  // namespace decant::test
