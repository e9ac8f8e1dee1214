// SPDX-License-Identifier: Apache-2.0

// One limit for everything that an engine takes: what does not fit is refused before work, and what is taken in never
// lacks memory.

#include <algorithm>
#include <fstream>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

std::shared_ptr<const Model> bundled() { return open_model(DECANT_BUNDLED_MODEL); }

Request request_of(int n_prompt, int max_new_tokens, int seed = 0) {
  Request request;
  request.prompt = random_ids(n_prompt, 500, static_cast<uint32_t>(seed));
  request.max_new_tokens = max_new_tokens;
  request.ignore_end = true;
  return request;
}

EngineOptions limited(size_t bytes) {
  EngineOptions options;
  options.n_threads = 2;
  options.max_sequences = 24;
  options.max_step_tokens = 64;
  options.memory_limit_bytes = bytes;
  return options;
}

/// What an engine with these options has before any text.
size_t bare_bytes(const std::shared_ptr<const Model>& model, EngineOptions options) {
  options.memory_limit_bytes = 0;
  return must(Engine::create(model, options))->memory_stats().total_bytes();
}

[[maybe_unused]] size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * 4096;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("memory limit: resident memory stays within the limit and 2 % under random load") {
  constexpr size_t kLimit = size_t{160} << 20;
  // Code that loading and stepping touch isn't the engine's.
  must(must(must(Engine::open(DECANT_BUNDLED_MODEL))->session()).generate("Once", {.max_new_tokens = 3}));
  const size_t before = resident_bytes();
  EngineOptions options = limited(kLimit);
  options.max_sequences = 64;
  const auto engine = must(Engine::open(DECANT_BUNDLED_MODEL, options));
  std::mt19937 random(3);
  size_t most = 0, most_counted = 0;
  int n_taken = 0, n_refused = 0;
  for (int round = 0; round < 300; ++round) {
    const int n_prompt = 200 + static_cast<int>(random() % 800);
    const Result<SequenceId> id = engine->submit(request_of(n_prompt, static_cast<int>(random() % 24), round));
    if (!id) CHECK(id.error().code == ErrorCode::cache_full);
    ++(id ? n_taken : n_refused);
    for (auto i = random() % 3; i > 0; --i) must(engine->step());
    most = std::max(most, resident_bytes() - before);
    most_counted = std::max(most_counted, engine->memory_stats().total_bytes());
  }
  CHECK(n_taken > 50);
  CHECK(n_refused > 10);
  CHECK(most_counted <= kLimit);
  CHECK(most_counted > kLimit / 10 * 9);
  MESSAGE("resident at most ", static_cast<double>(most) / kLimit, " of the limit");
  CHECK(static_cast<double>(most) <= 1.02 * kLimit);
}
#endif

TEST_CASE("memory limit: what was admitted runs to its end, whatever comes beside it") {
  const auto model = bundled();
  const size_t bare = bare_bytes(model, limited(0)) + (size_t{64} << 10);
  std::mt19937 random(4);
  for (const int cache_mib : {2, 5, 11}) {
    CAPTURE(cache_mib);
    const auto engine = must(Engine::create(model, limited(bare + (static_cast<size_t>(cache_mib) << 20))));
    int n_taken = 0, n_refused = 0;
    for (int round = 0; round < 120; ++round) {
      const Request request =
          request_of(1 + static_cast<int>(random() % 300), static_cast<int>(random() % 40), round % 7);
      const Admission admission = must(engine->admit(request));
      CHECK(admission.fits == (admission.needed_bytes <= admission.available_bytes));
      const Result<SequenceId> id = engine->submit(request);
      CHECK(id.ok() == admission.fits);
      if (!id) {
        CHECK((id.error().code == ErrorCode::cache_full || id.error().code == ErrorCode::over_limit));
        CHECK(id.error().message.find(std::to_string(admission.needed_bytes)) != std::string::npos);
      }
      ++(id ? n_taken : n_refused);
      if (id && round % 5 == 0) static_cast<void>(engine->fork(*id, {}));
      for (auto i = random() % 8; i > 0; --i) must(engine->step());
    }
    while (engine->n_sequences() > 0) must(engine->step());
    CHECK(n_taken > 5);
    CHECK(n_refused > 5);
    CHECK(engine->memory_stats().total_bytes() <= engine->memory_stats().limit_bytes);
  }
}

TEST_CASE("memory limit: a request is refused for good where it cannot fit alone, and for now where it can") {
  const auto model = bundled();
  const size_t bare = bare_bytes(model, limited(0)) + (size_t{64} << 10);
  const auto probe = must(Engine::create(model, limited(0)));
  const size_t for_200 = probe->cache_bytes_needed(200);
  const auto engine = must(Engine::create(model, limited(bare + for_200 + for_200 / 2)));
  CHECK(code_of(engine->submit(request_of(1000, 10))) == ErrorCode::over_limit);
  CHECK_FALSE(must(engine->admit(request_of(1000, 10))).fits);
  // The last token is never computed.
  CHECK(must(engine->admit(request_of(100, 101))).needed_bytes == for_200);
  const SequenceId first = must(engine->submit(request_of(100, 101)));
  CHECK(code_of(engine->submit(request_of(100, 101))) == ErrorCode::cache_full);
  CHECK(code_of(engine->submit(request_of(20, 20))) == ErrorCode::ok);
  must(engine->cancel(first));
  CHECK(code_of(engine->submit(request_of(100, 101))) == ErrorCode::ok);
}

TEST_CASE("memory limit: an answer that goes on, a session and a restored text are taken in like a request") {
  const TempDir folder;
  const auto model = bundled();
  const size_t bare = bare_bytes(model, limited(0)) + (size_t{64} << 10);
  const size_t for_200 = must(Engine::create(model, limited(0)))->cache_bytes_needed(200);
  const auto engine = must(Engine::create(model, limited(bare + for_200 + for_200 / 2)));
  Session session = must(engine->session());
  must(session.generate(random_ids(70, 500, 1), {.max_new_tokens = 3}));
  must(session.save(folder.path("text.kv")));
  Session other = must(engine->session());
  CHECK(other.stream(random_ids(100, 500, 2), {.max_new_tokens = 300}).status().error().code == ErrorCode::over_limit);
  const SequenceId id = must(engine->submit(request_of(100, 101)));
  const int before = session.n_tokens();
  CHECK(session.stream("", {.max_new_tokens = 200}).status().error().code == ErrorCode::cache_full);
  CHECK(session.stream("", {.max_new_tokens = 350}).status().error().code == ErrorCode::over_limit);
  CHECK(session.n_tokens() == before);
  CHECK(code_of(engine->restore_session(folder.path("text.kv"))) == ErrorCode::cache_full);
  must(engine->cancel(id));
  engine->forget_prefixes();
  CHECK(must(session.generate("", {.max_new_tokens = 100, .ignore_end = true})).ids.size() == 100);
}

TEST_CASE("memory limit: room for less than a block of cache is refused, and never taken for no limit") {
  const auto model = bundled();
  const size_t bare = bare_bytes(model, limited(0)) + (size_t{64} << 10);
  for (const size_t left : {size_t{0}, size_t{1}, size_t{4096}, size_t{256} << 10}) {
    CAPTURE(left);
    const auto engine = Engine::create(model, limited(bare + left));
    REQUIRE(code_of(engine) == ErrorCode::over_limit);
    CHECK(engine.error().message.find(std::to_string(bare + left)) != std::string::npos);
  }
  EngineOptions wrong = limited(bare + (size_t{8} << 20));
  wrong.cache.rollback_tokens = -1;
  CHECK(code_of(Engine::create(model, wrong)) == ErrorCode::invalid_argument);
}

TEST_CASE("memory limit: an engine that has no room for itself is refused with both numbers") {
  for (const size_t limit : {size_t{1}, size_t{20} << 20, size_t{25} << 20}) {
    const auto engine = Engine::open(DECANT_BUNDLED_MODEL, limited(limit));
    REQUIRE(code_of(engine) == ErrorCode::over_limit);
    CHECK(engine.error().message.find(std::to_string(limit)) != std::string::npos);
  }
}

}  // namespace decant::test
