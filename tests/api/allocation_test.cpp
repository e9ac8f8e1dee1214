// SPDX-License-Identifier: Apache-2.0

// Every allocation fails once: an error with its code, nothing changed, nothing leaked, and the same call works
// afterwards.

#include <functional>

#include <doctest/doctest.h>

#include "engine/engine_impl.h"
#include "tests/support/decode.h"
#include "tests/support/failing_new.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

EngineOptions one_thread() {
  EngineOptions options = small_options();
  options.n_threads = 1;
  return options;
}

GenerationOptions greedy_with_all(int n) {
  GenerationOptions options = greedy(n);
  options.stop_strings = {"a string that is longer than what fits into a string object", "another"};
  options.top_logprobs = 3;
  return options;
}

/// Tries `call`, which answers a Status or Result, with each of its allocations failing; then it works.
template <typename Call>
int64_t each_allocation_fails(Call call) {
  for (int64_t n = 0;; ++n) {
    const FailingNew failing(n);
    auto result = call();
    if (!failing.failed()) {
      CHECK_MESSAGE(result.ok(), result.error().message);
      return n;
    }
    // Some do without: what is known of prefixes, a log line.
    if (result) continue;
    INFO("allocation ", n);
    CHECK(result.error().code == ErrorCode::out_of_memory);
    CHECK_FALSE(result.error().message.empty());
  }
}

/// What a failed call must leave as it was.
struct Snapshot {
  std::vector<int32_t> ids;
  int n_tokens, n_computed, n_sequences;
  size_t used_bytes;
  bool operator==(const Snapshot&) const = default;
};

Snapshot snapshot_of(Engine& engine, SequenceId id) {
  const SequenceInfo info = must(engine.info(id));
  const CacheStats stats = engine.cache_stats();
  return {{info.ids.begin(), info.ids.end()},
          info.n_tokens,
          info.n_computed,
          engine.n_sequences(),
          stats.unique_bytes + stats.shared_bytes};
}

}  // namespace

TEST_CASE("allocations: opening a model and making an engine") {
  for (const char* const name : {"gguf/llama-gqa-q4_0.gguf", "models/mistral"}) {
    CAPTURE(name);
    ModelOptions options;
    options.n_threads = 1;
    const std::string path = fixture(name);
    must(Model::open(path, options));
    int64_t n_calls = 0;
    {
      const int64_t before = n_allocations();
      must(Model::open(path, options));
      n_calls = n_allocations() - before;
    }
    const int64_t live = n_live_allocations();
    for (int64_t n = 0; n < n_calls; ++n) {
      CAPTURE(n);
      const FailingNew failing(n);
      const auto model = Model::open(path, options);
      if (model) continue;
      CHECK(model.error().code == ErrorCode::out_of_memory);
    }
    CHECK(n_live_allocations() == live);
    const auto model = must(Model::open(path, options));
    const int64_t live_with_model = n_live_allocations();
    each_allocation_fails([&] { return Engine::create(model, one_thread()); });
    CHECK(n_live_allocations() == live_with_model);
  }
}

TEST_CASE("allocations: where all of them fail from some on, loading and all that follows is refused, too") {
  const std::string path = fixture("gguf/llama-gqa-q4_0.gguf");
  ModelOptions options;
  options.n_threads = 2;
  const GenerationOptions wanted = greedy_with_all(6);
  const std::vector<int32_t> prompt = {5, 6, 7, 8};
  int64_t n_calls = n_allocations();
  const auto run = [&]() -> Status {
    Result<std::shared_ptr<const Model>> model = Model::open(path, options);
    if (!model) return std::move(model).error();
    Result<std::unique_ptr<Engine>> engine = Engine::create(std::move(*model), one_thread());
    if (!engine) return std::move(engine).error();
    Result<Session> session = (*engine)->session();
    if (!session) return std::move(session).error();
    Result<Completion> completion = session->generate(prompt, wanted);
    if (!completion) return std::move(completion).error();
    return {};
  };
  must(run());
  n_calls = n_allocations() - n_calls;
  const int64_t live = n_live_allocations();
  for (int64_t n = 0; n < n_calls; ++n) {
    Status done;
    {
      const FailingNew failing(n, /*all_after=*/true);
      done = run();
    }
    if (!done) CHECK(done.error().code == ErrorCode::out_of_memory);
  }
  CHECK(n_live_allocations() == live);
}

TEST_CASE("allocations: submit, fork, extend, truncate, save and restore change nothing when they fail") {
  const TempDir folder;
  const auto model = open_model(fixture("models/llama-gqa"));
  const auto engine = must(Engine::create(model, one_thread()));
  Request request;
  static_cast<GenerationOptions&>(request) = greedy_with_all(12);
  request.prompt_text = "Once upon a time there was a text that had a few more tokens than a block";
  request.prefix_salt = "a salt that is longer than what fits into a string object";
  request.keep = true;
  const SequenceId id = must(engine->submit(request));
  while (!must(engine->info(id)).paused) must(engine->step());
  const Snapshot before = snapshot_of(*engine, id);
  const auto unchanged = [&](auto call) {
    return [&, call] {
      auto result = call();
      if (!result) CHECK(snapshot_of(*engine, id) == before);
      return result;
    };
  };
  const std::string path = folder.path("text.kv");
  const GenerationOptions longer = greedy_with_all(40);
  const auto submit = [&]() -> Result<SequenceId> {
    try {
      return engine->submit(request);
    } catch (const std::bad_alloc&) {  // of the copy that is the caller's own
      return Error{ErrorCode::out_of_memory, "a copy"};
    }
  };
  SequenceId other = 0;
  const auto gone = [&](Result<SequenceId> result) {
    if (result) must(engine->cancel(other = *result));
    return result;
  };
  CHECK(each_allocation_fails(unchanged([&] { return gone(submit()); })) > 5);
  CHECK(each_allocation_fails(unchanged([&] { return gone(engine->fork(id, {})); })) > 0);
  CHECK(each_allocation_fails(unchanged([&] { return engine->admit(request); })) > 0);
  CHECK(each_allocation_fails(unchanged([&] { return engine->save(id, path); })) > 0);
  CHECK(each_allocation_fails(unchanged([&] { return gone(engine->restore(path)); })) > 0);
  CHECK(each_allocation_fails(unchanged([&] { return engine->info(id); })) == 0);
  const std::vector<int32_t> more = {5, 6, 7};
  CHECK(each_allocation_fails(unchanged([&] { return engine->extend(id, more, longer); })) > 0);
  CHECK(must(engine->info(id)).n_tokens == before.n_tokens + 3);
}

TEST_CASE("allocations: a step that fails may be tried again, and gives what it would have given") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const std::vector<int32_t> prompt = random_ids(40, model->info().vocab_size, 3);
  std::vector<int32_t> expected;
  std::string expected_text;
  {
    const auto engine = must(Engine::create(model, one_thread()));
    Session session = must(engine->session());
    const Completion whole = must(session.generate(prompt, greedy_with_all(60)));
    expected = whole.ids;
    expected_text = whole.text;
  }
  const auto engine = must(Engine::create(model, one_thread()));
  Request request;
  static_cast<GenerationOptions&>(request) = greedy_with_all(60);
  request.prompt = prompt;
  request.keep = true;
  const SequenceId id = must(engine->submit(request));
  std::vector<int32_t> ids;
  std::string text;
  int n_failed = 0;
  for (int64_t n = 0; ids.size() < expected.size();) {
    const Snapshot before = snapshot_of(*engine, id);
    Result<StepReport> report = Error{};
    bool failed = false;
    {
      const FailingNew failing(n);
      report = engine->step();
      failed = failing.failed();
    }
    if (!report) {
      ++n_failed;
      CHECK(report.error().code == ErrorCode::out_of_memory);
      CHECK(snapshot_of(*engine, id) == before);
      ++n;  // the next one of the same step
      continue;
    }
    if (!failed) n = 0;
    for (const Piece& piece : report->pieces) {
      if (piece.token_id >= 0) ids.push_back(piece.token_id);
      text += piece.text;
    }
  }
  CHECK(ids == expected);
  CHECK(text == expected_text);
  CHECK(n_failed > 5);
}

TEST_CASE("allocations: a session's calls fail one by one, and the session goes on to its text") {
  const TempDir folder;
  const auto model = open_model(fixture("models/llama-gqa"));
  const auto engine = must(Engine::create(model, one_thread()));
  const std::string prompt = "Once upon a time there was a text";
  const Completion whole = must(must(engine->session()).generate(prompt, greedy_with_all(30)));
  const int64_t live = n_live_allocations();
  {
    CHECK(each_allocation_fails([&] { return engine->session(); }) > 0);
    Session session = must(engine->session());
    std::vector<int32_t> ids;
    ids.reserve(whole.ids.size());
    const std::string path = folder.path("text.kv");
    // Each try begins or goes on with a stream, pulls what comes, and stops where memory does.
    for (int64_t n = 0; ids.size() < whole.ids.size() && n < 2000; ++n) {
      const int n_tokens = session.n_tokens();
      const GenerationOptions left = greedy_with_all(30 - static_cast<int>(ids.size()));
      const std::string_view text = n_tokens == 0 ? std::string_view(prompt) : std::string_view();
      const FailingNew failing(n % 60);
      Stream stream = session.stream(text, left);
      size_t n_come = 0;
      while (n_come < 2) {
        const Piece* const piece = stream.next();
        if (piece == nullptr) break;
        if (piece->token_id >= 0) ids.push_back(piece->token_id), ++n_come;
      }
      if (!stream.status()) CHECK(stream.status().error().code == ErrorCode::out_of_memory);
    }
    CHECK(ids == whole.ids);
    CHECK(each_allocation_fails([&] { return session.fork(); }) > 0);
    CHECK(each_allocation_fails([&] { return session.ids(); }) > 0);
    CHECK(each_allocation_fails([&] { return session.save(path); }) > 0);
    CHECK(each_allocation_fails([&] { return engine->restore_session(path); }) > 0);
    CHECK(each_allocation_fails([&] { return session.truncate(10); }) == 0);
    CHECK(session.n_tokens() == 10);
  }
  engine->forget_prefixes();
  CHECK(engine->n_sequences() == 0);
  CHECK(n_live_allocations() <= live + 64);  // the tree of prefixes and the slots keep some of their room
}

}  // namespace decant::test
