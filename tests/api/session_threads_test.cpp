// SPDX-License-Identifier: Apache-2.0

// Many threads on one engine, and several engines: each text is what it is alone. For ThreadSanitizer, too.

#include <atomic>
#include <thread>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"

namespace decant::test {

namespace {

constexpr int kSessions = 32, kThreads = 8, kGenerated = 10;

GenerationOptions options_of(int i) {
  GenerationOptions options;
  options.sampling.temperature = i % 3 == 0 ? 0.0F : 0.8F;
  options.sampling.top_k = 40;
  options.sampling.seed = static_cast<uint64_t>(i);
  options.max_new_tokens = kGenerated;
  options.ignore_end = true;
  options.priority = i % 2;
  return options;
}

std::vector<int32_t> prompt_of(const Model& model, int i) {
  std::vector<int32_t> prompt = random_ids(3 + i % 60, model.info().vocab_size, static_cast<uint32_t>(i % 5));
  if (i % 4 == 0) prompt.push_back(i);
  return prompt;
}

EngineOptions engine_options(int n_threads) {
  EngineOptions options;
  options.n_threads = n_threads;
  options.max_sequences = kSessions;
  options.max_step_tokens = 64;
  options.cache.block_tokens = 16;
  return options;
}

/// Each session by itself, on an engine of its own.
std::vector<std::vector<int32_t>> alone(const std::shared_ptr<const Model>& model) {
  std::vector<std::vector<int32_t>> texts;
  for (int i = 0; i < kSessions; ++i) {
    EngineOptions options = engine_options(1);
    options.max_sequences = 1;
    const auto engine = must(Engine::create(model, options));
    Session session = must(engine->session());
    must(session.generate(prompt_of(*model, i), options_of(i)));
    must(session.generate(prompt_of(*model, i + 1), options_of(i)));
    texts.push_back(must(session.ids()));
  }
  return texts;
}

/// All sessions of an engine, pulled by threads that have some each.
std::vector<std::vector<int32_t>> together(Engine& engine) {
  std::vector<std::vector<int32_t>> texts(kSessions);
  std::atomic<int> n_failed = 0;
  const auto run = [&](int thread) {
    std::vector<Session> sessions;
    std::vector<int> numbers;
    for (int i = thread; i < kSessions; i += kThreads) {
      Result<Session> session = engine.session();
      if (!session) return void(++n_failed);
      sessions.push_back(std::move(*session));
      numbers.push_back(i);
    }
    for (int turn = 0; turn < 2; ++turn) {
      std::vector<Stream> streams;
      for (size_t s = 0; s < sessions.size(); ++s)
        streams.push_back(sessions[s].stream(prompt_of(engine.model(), numbers[s] + turn), options_of(numbers[s])));
      for (bool any = true; any;) {  // in turn, as one who shows several texts would
        any = false;
        for (Stream& stream : streams) any = stream.next() != nullptr || any;
      }
      for (const Stream& stream : streams)
        if (!stream.status()) ++n_failed;
    }
    for (size_t s = 0; s < sessions.size(); ++s) {
      Result<std::vector<int32_t>> ids = sessions[s].ids();
      if (ids) texts[static_cast<size_t>(numbers[s])] = std::move(*ids);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(run, t);
  for (std::thread& thread : threads) thread.join();
  CHECK(n_failed == 0);
  return texts;
}

}  // namespace

TEST_CASE("session: 32 sessions over 8 threads give the tokens that they give alone") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const auto expected = alone(model);
  const auto engine = must(Engine::create(model, engine_options(2)));
  CHECK(together(*engine) == expected);
  CHECK(engine->n_sequences() == 0);
}

TEST_CASE("session: two engines with different models, each from several threads, don't meet") {
  const auto a = open_model(fixture("models/llama-gqa")), b = open_model(fixture("models/mistral"));
  const auto expected_a = alone(a), expected_b = alone(b);
  const auto engine_a = must(Engine::create(a, engine_options(2)));
  const auto engine_b = must(Engine::create(b, engine_options(1)));
  std::vector<std::vector<int32_t>> texts_b;
  std::thread other([&] { texts_b = together(*engine_b); });
  CHECK(together(*engine_a) == expected_a);
  other.join();
  CHECK(texts_b == expected_b);
}

TEST_CASE("session: what step() returns stays as it is while sessions compute on other threads") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const auto engine = must(Engine::create(model, engine_options(1)));
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      for (int i = t; !done; i += 2) {
        Session session = *engine->session();
        static_cast<void>(session.generate(prompt_of(*model, i % 20), options_of(i)));
      }
    });
  Request request;
  static_cast<GenerationOptions&>(request) = options_of(0);
  request.prompt = prompt_of(*model, 3);
  request.top_logprobs = 3;
  request.max_new_tokens = 12;
  const auto text_of = [&] {
    std::string text;
    must(engine->submit(request));
    for (bool ended = false; !ended;)
      for (const Piece& piece : must(engine->step()).pieces) {
        std::this_thread::yield();  // the sessions go on, and take the place of one that has ended
        text += piece.text;
        text += piece.bytes;
        for (const TokenLogprob& likely : piece.top_logprobs) text += std::to_string(likely.token_id);
        ended = piece.finish != FinishReason::none;
      }
    return text;
  };
  const std::string expected = text_of();
  CHECK_FALSE(expected.empty());
  for (int i = 0; i < 10; ++i) CHECK(text_of() == expected);
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("session: forks, cuts, stops and reports from other threads disturb nobody") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const auto engine = must(Engine::create(model, engine_options(2)));
  const std::vector<int32_t> prompt = prompt_of(*model, 7);
  const std::vector<int32_t> whole = greedy_ids(model, prompt, 40, {});
  GenerationOptions options = options_of(0);
  options.max_new_tokens = 40;
  std::atomic<bool> done = false;
  std::thread restless([&] {
    for (int i = 0; !done; ++i) {
      Session session = *engine->session();
      Stream stream = session.stream(prompt_of(*model, i % 9), options_of(i));
      for (int n = 0; n < i % 5; ++n) static_cast<void>(stream.next());
      if (i % 3 == 0) session.cancel();
      if (i % 4 == 0) static_cast<void>(session.fork());
      if (i % 5 == 0) static_cast<void>(session.truncate(i % 3));
    }
  });
  std::thread curious([&] {
    while (!done) {
      static_cast<void>(engine->memory_stats());
      static_cast<void>(engine->cache_stats());
      static_cast<void>(engine->n_sequences());
      static_cast<void>(engine->cancel(123456));
    }
  });
  for (int i = 0; i < 5; ++i) {
    Session session = must(engine->session());
    CHECK(must(session.generate(prompt, options)).ids == whole);
  }
  done = true;
  restless.join();
  curious.join();
}

}  // namespace decant::test
