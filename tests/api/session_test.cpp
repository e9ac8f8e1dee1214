// SPDX-License-Identifier: Apache-2.0
#include "decant/session.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

using namespace std::string_literals;

const std::string kPrompt = "Once upon a time";

std::shared_ptr<const Model> bundled() {
  static const std::shared_ptr<const Model> model = open_model(DECANT_BUNDLED_MODEL);
  return model;
}

std::unique_ptr<Engine> engine_of(std::shared_ptr<const Model> model = bundled(), EngineOptions options = {}) {
  options.n_threads = 2;
  return must(Engine::create(std::move(model), options));
}

std::vector<int32_t> pulled(Stream stream, int at_most = 1 << 20) {
  std::vector<int32_t> ids;
  while (static_cast<int>(ids.size()) < at_most) {
    const Piece* const piece = stream.next();
    if (piece == nullptr) break;
    if (piece->token_id >= 0) ids.push_back(piece->token_id);
  }
  must(stream.status());
  return ids;
}

std::vector<int32_t> ids_of(const std::string& text) { return must((*bundled()->tokenizer())->encode(text)); }

/// What the engine gives for the same prompt by itself.
std::vector<int32_t> expected(const std::string& prompt, int n) { return greedy_ids(bundled(), ids_of(prompt), n, {}); }

}  // namespace

TEST_CASE("session: a stream gives the engine's tokens, and texts that join to their text") {
  const auto engine = engine_of();
  Session session = must(engine->session());
  CHECK(session.n_tokens() == 0);
  std::string text, bytes;
  std::vector<int32_t> ids;
  Stream stream = session.stream(kPrompt, greedy(60));
  for (const Piece& piece : stream) {
    text += piece.text;
    bytes += piece.bytes;
    if (piece.token_id >= 0) ids.push_back(piece.token_id);
    CHECK(piece.logprob <= 0.0F);
    CHECK(piece.usage.n_generated_tokens == static_cast<int>(ids.size()));
  }
  must(stream.status());
  CHECK(stream.finish() == FinishReason::length);
  CHECK(ids == expected(kPrompt, 60));
  CHECK(text == bytes);
  std::vector<int32_t> all = ids_of(kPrompt);
  const auto n_prompt = static_cast<int>(all.size());
  all.insert(all.end(), ids.begin(), ids.end());
  CHECK(must(session.ids()) == all);
  const Tokenizer* const tokenizer = must(bundled()->tokenizer());
  CHECK(tokenizer->decode(all) == tokenizer->decode(ids_of(kPrompt)) + text);
  const Usage usage = stream.usage();
  CHECK(usage.n_prompt_tokens == n_prompt);
  CHECK(usage.n_generated_tokens == 60);
  CHECK(usage.first_token_ns > 0);
  CHECK(usage.last_token_ns >= usage.first_token_ns);
  CHECK(stream.next() == nullptr);
}

TEST_CASE("session: what is pulled in parts, forked, saved and cut goes on to the same tokens") {
  const TempDir folder;
  const std::vector<int32_t> whole = expected(kPrompt, 40);
  const std::vector<int32_t> rest(whole.begin() + 15, whole.end());
  const auto engine = engine_of();
  Session session = must(engine->session());
  CHECK(pulled(session.stream(kPrompt, greedy(40)), 15) == std::vector<int32_t>(whole.begin(), whole.begin() + 15));
  const int n_tokens = session.n_tokens();
  CHECK(n_tokens == static_cast<int>(ids_of(kPrompt).size()) + 15);

  Session twin = must(session.fork());
  must(session.save(folder.path("text.kv")));
  CHECK(pulled(session.stream("", greedy(25))) == rest);
  CHECK(pulled(twin.stream("", greedy(25))) == rest);
  must(session.truncate(n_tokens));
  CHECK(session.n_tokens() == n_tokens);
  CHECK(pulled(session.stream("", greedy(25))) == rest);

  Session restored = must(engine->restore_session(folder.path("text.kv")));
  CHECK(restored.n_tokens() == n_tokens);
  CHECK(pulled(restored.stream("", greedy(25))) == rest);
  Session moved = std::move(restored);
  must(moved.truncate(0));
  CHECK(moved.n_tokens() == 0);
  CHECK(pulled(moved.stream(kPrompt, greedy(40))) == whole);
  CHECK(engine->n_sequences() == 3);
}

TEST_CASE("session: a restored text is shared under its own salt, and with no other tenant") {
  const TempDir folder;
  const auto engine = engine_of();
  SequenceOptions salted;
  salted.prefix_salt = "a tenant's \"salt\"\0\xFF"s;
  {
    Session session = must(engine->session(salted));
    must(session.generate(kPrompt, greedy(90)));
    must(session.save(folder.path("text.kv")));
  }
  engine->forget_prefixes();
  Session restored = must(engine->restore_session(folder.path("text.kv")));
  must(restored.generate("", greedy(3)));
  const std::vector<int32_t> ids = must(restored.ids());
  const auto n_cached = [&](const SequenceOptions& options) {
    Session session = must(engine->session(options));
    return must(session.generate(ids, greedy(1))).usage.n_cached_tokens;
  };
  CHECK(n_cached({}) == 0);
  CHECK(n_cached(salted) > 60);
  must(restored.truncate(0));
  must(restored.generate(kPrompt, greedy(90)));
  CHECK(n_cached(salted) > 60);
}

TEST_CASE("session: a second prompt goes on from the first answer") {
  const auto engine = engine_of();
  Session session = must(engine->session());
  const Completion first = must(session.generate(kPrompt, greedy(12)));
  CHECK(first.ids.size() == 12);
  CHECK(first.finish == FinishReason::length);
  const Completion second = must(session.generate(" The dog", greedy(12)));
  std::vector<int32_t> all = ids_of(kPrompt);
  all.insert(all.end(), first.ids.begin(), first.ids.end());
  const std::vector<int32_t> added = must((*bundled()->tokenizer())->encode(" The dog", {.add_special = false}));
  all.insert(all.end(), added.begin(), added.end());
  CHECK(greedy_ids(bundled(), all, 12, {}) == second.ids);
  CHECK(second.usage.n_prompt_tokens == static_cast<int>(added.size()));
}

TEST_CASE("session: sessions outlive their engine's handle") {
  auto engine = engine_of();
  Session session = must(engine->session());
  engine.reset();
  CHECK(pulled(session.stream(kPrompt, greedy(5))) == expected(kPrompt, 5));
}

TEST_CASE("session: a stop string ends the text before it, across tokens") {
  const auto engine = engine_of();
  const std::string whole = must(must(engine->session()).generate(kPrompt, greedy(60))).text;
  for (const size_t at : {size_t{10}, size_t{31}, size_t{50}}) {
    const std::string stop = whole.substr(at, 7);
    GenerationOptions options = greedy(60);
    options.stop_strings = {"", "not in there", stop};
    Session session = must(engine->session());
    const Completion completion = must(session.generate(kPrompt, options));
    CHECK(completion.text == whole.substr(0, whole.find(stop)));
    CHECK(completion.finish == FinishReason::stop_string);
  }
}

TEST_CASE("session: pieces tell the likeliest tokens") {
  const auto engine = engine_of();
  Session session = must(engine->session());
  GenerationOptions options = greedy(8);
  options.top_logprobs = 5;
  Stream stream = session.stream(kPrompt, options);
  int n = 0;
  for (const Piece& piece : stream) {
    REQUIRE(piece.top_logprobs.size() == 5);
    CHECK(piece.top_logprobs[0].token_id == piece.token_id);
    CHECK(piece.top_logprobs[0].logprob == piece.logprob);
    double sum = 0.0;
    for (size_t i = 0; i < 5; ++i) {
      sum += std::exp(piece.top_logprobs[i].logprob);
      if (i > 0) CHECK(piece.top_logprobs[i].logprob <= piece.top_logprobs[i - 1].logprob);
    }
    CHECK(sum <= 1.000001);
    ++n;
  }
  CHECK(n == 8);
}

TEST_CASE("session: the end id ends it, and is no text") {
  const auto model = bundled();
  REQUIRE_FALSE(model->end_ids().empty());
  const auto engine = engine_of();
  Session session = must(engine->session());
  GenerationOptions options;
  options.sampling.seed = 3;
  bool ended = false;
  Stream stream = session.stream(kPrompt, options);
  for (const Piece& piece : stream) {
    CHECK_FALSE(ended);
    ended = piece.is_end;
    CHECK(piece.finish == (ended ? FinishReason::stop : FinishReason::none));
    if (!ended) continue;
    CHECK(piece.is_special);
    CHECK(piece.bytes.empty());
  }
  CHECK(ended);
}

TEST_CASE("session: a callback stops or cancels, at the piece that it has seen") {
  const std::vector<int32_t> whole = expected(kPrompt, 30);
  const auto engine = engine_of();
  for (const Flow flow : {Flow::stop, Flow::cancel}) {
    Session session = must(engine->session());
    int n = 0;
    const Completion completion =
        must(session.generate(kPrompt, greedy(30), [&](const Piece&) { return ++n < 10 ? Flow::go_on : flow; }));
    CHECK(n == 10);
    CHECK(completion.ids == std::vector<int32_t>(whole.begin(), whole.begin() + 10));
    CHECK(completion.finish == (flow == Flow::stop ? FinishReason::stop : FinishReason::cancelled));
    CHECK(pulled(session.stream("", greedy(20))) == std::vector<int32_t>(whole.begin() + 10, whole.end()));
  }
  Session session = must(engine->session());
  CHECK_THROWS_AS(static_cast<void>(session.generate(
                      kPrompt, greedy(30), [](const Piece&) -> Flow { throw std::runtime_error("the host's own"); })),
                  std::runtime_error);
  CHECK(pulled(session.stream("", greedy(29))) == std::vector<int32_t>(whole.begin() + 1, whole.end()));
}

TEST_CASE("session: stop tokens, cancel() and deadlines end a stream and leave the session whole") {
  const std::vector<int32_t> whole = expected(kPrompt, 30);
  const auto engine = engine_of();
  for (const int way : {0, 1, 2}) {
    CAPTURE(way);
    Session session = must(engine->session());
    std::stop_source source;
    GenerationOptions options = greedy(30);
    if (way == 0) options.stop = source.get_token();
    if (way == 2) options.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
    std::vector<int32_t> ids;
    Stream stream = session.stream(kPrompt, options);
    while (const Piece* const piece = stream.next()) {
      if (piece->token_id >= 0) ids.push_back(piece->token_id);
      if (ids.size() < 9) continue;
      if (way == 0) source.request_stop();
      if (way == 1) session.cancel();
      if (way == 2) break;
    }
    must(stream.status());
    if (way != 2) CHECK(stream.finish() == FinishReason::cancelled);
    CHECK(ids == std::vector<int32_t>(whole.begin(), whole.begin() + 9));
    CHECK(pulled(session.stream("", greedy(21))) == std::vector<int32_t>(whole.begin() + 9, whole.end()));
  }
  Session session = must(engine->session());
  GenerationOptions late = greedy(30);
  late.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  const Completion completion = must(session.generate(kPrompt, late));
  CHECK(completion.finish == FinishReason::deadline);
  CHECK(completion.ids.empty());
  CHECK(pulled(session.stream("", greedy(30))) == whole);
}

TEST_CASE("session: one turn at a time: a new stream ends the old one") {
  const auto engine = engine_of();
  Session session = must(engine->session());
  Stream first = session.stream(kPrompt, greedy(20));
  REQUIRE(first.next() != nullptr);
  Stream second = session.stream("", greedy(5));
  CHECK(first.next() == nullptr);
  CHECK(pulled(std::move(second)).size() == 5);
  CHECK(session.n_tokens() == static_cast<int>(ids_of(kPrompt).size()) + 6);

  Stream orphan = session.stream("", greedy(5));
  { const Session gone = std::move(session); }
  CHECK(orphan.next() == nullptr);
  Session replaced = must(engine->session());
  Stream another = replaced.stream(kPrompt, greedy(5));
  REQUIRE(another.next() != nullptr);
  replaced = must(engine->session());
  CHECK(another.next() == nullptr);
}

TEST_CASE("session: mistakes are errors with a message, and change nothing") {
  EngineOptions options;
  options.max_sequences = 2;
  options.n_ctx = 64;
  const auto engine = engine_of(bundled(), options);
  Session session = must(engine->session());
  const auto error_of = [&](const Stream& stream) {
    CHECK_FALSE(stream.status().error().message.empty());
    CHECK(stream.finish() == FinishReason::error);
    return stream.status().error().code;
  };
  CHECK(error_of(session.stream(std::span<const int32_t>())) == ErrorCode::invalid_argument);
  CHECK(error_of(session.stream(std::vector<int32_t>{-1})) == ErrorCode::invalid_argument);
  CHECK(error_of(session.stream(std::vector<int32_t>{1 << 30})) == ErrorCode::invalid_argument);
  CHECK(error_of(session.stream(std::vector<int32_t>(65, 1))) == ErrorCode::invalid_argument);
  GenerationOptions wrong;
  wrong.top_logprobs = 21;
  CHECK(error_of(session.stream(kPrompt, wrong)) == ErrorCode::invalid_argument);
  wrong.top_logprobs = -1;
  CHECK(error_of(session.stream(kPrompt, wrong)) == ErrorCode::invalid_argument);
  wrong = {};
  wrong.sampling.temperature = NAN;
  CHECK(error_of(session.stream(kPrompt, wrong)) == ErrorCode::invalid_argument);
  CHECK(session.n_tokens() == 0);
  CHECK(code_of(session.truncate(1)) == ErrorCode::invalid_argument);
  CHECK(code_of(session.truncate(-1)) == ErrorCode::invalid_argument);
  CHECK(code_of(session.save("/nowhere/at/all")) == ErrorCode::invalid_argument);
  CHECK(code_of(engine->restore_session("/nowhere/at/all")) == ErrorCode::io);

  must(session.generate(kPrompt, greedy(3)));
  const int n = session.n_tokens();
  CHECK(code_of(session.save("/nowhere/at/all")) == ErrorCode::io);
  CHECK(error_of(session.stream(std::vector<int32_t>(64, 1))) == ErrorCode::invalid_argument);
  wrong = {};
  wrong.sampling.top_p = 2.0F;
  CHECK(error_of(session.stream("and", wrong)) == ErrorCode::invalid_argument);
  CHECK(code_of(session.truncate(n + 1)) == ErrorCode::invalid_argument);
  CHECK(session.n_tokens() == n);
  Session second = must(session.fork());
  CHECK(code_of(session.fork()) == ErrorCode::cache_full);
  Session third = must(engine->session());
  CHECK(error_of(third.stream(kPrompt)) == ErrorCode::cache_full);
  CHECK(pulled(second.stream("", greedy(4))) == pulled(session.stream("", greedy(4))));
}

TEST_CASE("session: sessions and what was submitted leave each other's pieces alone") {
  const std::vector<int32_t> whole = expected(kPrompt, 12);
  const auto engine = engine_of();
  Session session = must(engine->session());
  Request request;
  static_cast<GenerationOptions&>(request) = greedy(12);
  request.prompt_text = kPrompt;
  const SequenceId id = must(engine->submit(request));
  Stream stream = session.stream(kPrompt, greedy(12));
  std::vector<int32_t> streamed, submitted;
  while (streamed.size() < 12 || submitted.size() < 12) {
    if (const Piece* const piece = stream.next()) streamed.push_back(piece->token_id);
    for (const Piece& piece : must(engine->step()).pieces) {
      CHECK(piece.sequence == id);
      submitted.push_back(piece.token_id);
    }
  }
  CHECK(streamed == whole);
  CHECK(submitted == whole);
  CHECK(must(engine->step()).idle);
}

TEST_CASE("session: a session's sequence is nobody else's to change") {
  const std::vector<int32_t> whole = expected(kPrompt, 12);
  const auto engine = engine_of();
  Session session = must(engine->session());
  Stream stream = session.stream(kPrompt, greedy(12));
  const Piece* piece = stream.next();
  REQUIRE(piece != nullptr);
  const SequenceId id = piece->sequence;
  const auto try_all = [&] {
    CHECK(code_of(engine->cancel(id)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->fork(id, {})) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->truncate(id, 2)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->remove(id, 1, 1)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->extend(id, {}, 3)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->extend(id, {}, greedy(3))) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->set_sampling(id, {})) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->save(id, "/nowhere/at/all")) == ErrorCode::invalid_argument);
  };
  try_all();
  std::vector<int32_t> ids = {piece->token_id};
  std::atomic<bool> done = false;
  std::thread other([&] {  // a step that is going on doesn't wait for it either
    while (!done) static_cast<void>(engine->cancel(id));
  });
  while ((piece = stream.next()) != nullptr) ids.push_back(piece->token_id);
  done = true;
  other.join();
  must(stream.status());
  CHECK(ids == whole);
  try_all();
  CHECK(must(engine->info(id)).paused);
  CHECK(pulled(session.stream("", greedy(2))).size() == 2);
}

TEST_CASE("session: a model without a tokenizer streams ids") {
  const TempDir folder;
  for (const char* const file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(fixture(std::string("models/llama-gqa/") + file), folder.path(file));
  const auto model = open_model(folder.path("."));
  REQUIRE_FALSE(model->tokenizer());
  const auto engine = engine_of(model);
  Session session = must(engine->session());
  const std::vector<int32_t> prompt = {1, 2, 3};
  CHECK(pulled(session.stream(prompt, greedy(6))) == greedy_ids(model, prompt, 6, {}));
}

}  // namespace decant::test
