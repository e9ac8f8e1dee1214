// SPDX-License-Identifier: Apache-2.0

// Every option at its extremes: it works, or an error names it. Nothing crashes, and the engine goes on as before.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"

namespace decant::test {

namespace {

constexpr int kMin = std::numeric_limits<int>::min(), kMax = std::numeric_limits<int>::max();
constexpr size_t kMost = std::numeric_limits<size_t>::max();
constexpr float kInf = std::numeric_limits<float>::infinity();

GenerationOptions five_tokens() {
  GenerationOptions options;
  options.max_new_tokens = 5;
  return options;
}

/// An engine with these options decodes, or is refused with a message that names the option.
void check_engine(const EngineOptions& options, const char* name) {
  CAPTURE(name);
  const auto engine = Engine::create(small_model(), options);
  if (!engine) {
    CHECK((engine.error().code == ErrorCode::invalid_argument || engine.error().code == ErrorCode::over_limit ||
           engine.error().code == ErrorCode::out_of_memory));
    CHECK_MESSAGE(engine.error().message.find(name) != std::string::npos, engine.error().message);
    return;
  }
  Session session = must((*engine)->session());
  const auto done = session.generate(std::vector<int32_t>{1}, five_tokens());
  if (!done) CHECK((done.error().code == ErrorCode::cache_full || done.error().code == ErrorCode::over_limit));
}

/// The same for what a text is asked with; afterwards the session works.
void check_generation(Engine& engine, const GenerationOptions& options, const char* name) {
  CAPTURE(name);
  Session session = must(engine.session());
  const auto done = session.generate(std::vector<int32_t>{1, 2, 3}, options);
  if (!done) {
    CHECK(done.error().code == ErrorCode::invalid_argument);
    CHECK_MESSAGE(done.error().message.find(name) != std::string::npos, done.error().message);
    CHECK(session.n_tokens() == 0);
  }
  must(session.truncate(std::min(session.n_tokens(), 3)));
  must(session.generate(std::vector<int32_t>{4}, five_tokens()));
}

}  // namespace

TEST_CASE("options: an engine's numbers at their extremes") {
  struct Case {
    const char* name;
    int EngineOptions::*field;
  };
  for (const Case& c :
       {Case{"n_threads", &EngineOptions::n_threads}, Case{"n_ctx", &EngineOptions::n_ctx},
        Case{"max_sequences", &EngineOptions::max_sequences}, Case{"max_step_tokens", &EngineOptions::max_step_tokens},
        Case{"prefill_chunk", &EngineOptions::prefill_chunk}, Case{"step_target_ms", &EngineOptions::step_target_ms},
        Case{"max_logit_rows", &EngineOptions::max_logit_rows}})
    for (const int value : {kMin, -1, 0, 1, 2, 3, 4096, 4097, 65536, 65537, 1000000, 1000001, kMax}) {
      if (c.field == &EngineOptions::n_threads && value > 64 && value < 5000) continue;  // as many threads
      CAPTURE(value);
      EngineOptions options;
      options.n_threads = 1;
      options.*c.field = value;
      check_engine(options, c.field == &EngineOptions::max_sequences && value > 512 && value <= 4096
                                ? "max_step_tokens"  // which must be as many
                                : c.name);
    }
  for (const int value : {kMin, -16, 0, 1, 15, 16, 17, 256, 272, kMax}) {
    EngineOptions options;
    options.cache.block_tokens = value;
    check_engine(options, "block");
    options = {};
    options.cache.rollback_tokens = value;
    check_engine(options, "rollback_tokens");
  }
  for (const size_t value : {size_t{1}, size_t{4096}, size_t{1} << 20, kMost - 1, kMost}) {
    EngineOptions options;
    options.cache.limit_bytes = value;
    check_engine(options, "limit");
    options = {};
    options.cache.prefix_bytes = value;
    check_engine(options, "prefix_bytes");
    options = {};
    options.memory_limit_bytes = value;
    check_engine(options, "limit");
  }
}

TEST_CASE("options: how a text goes on, at its extremes") {
  EngineOptions engine_options;
  engine_options.n_threads = 1;
  const auto engine = must(Engine::create(small_model(), engine_options));
  for (const int value : {kMin, -1, 0, 1, 20, 21, kMax}) {
    CAPTURE(value);
    GenerationOptions options = five_tokens();
    options.top_logprobs = value;
    check_generation(*engine, options, "top_logprobs");
    options = five_tokens();
    options.priority = value;
    check_generation(*engine, options, "priority");
    options = five_tokens();
    options.sampling.top_k = value;
    check_generation(*engine, options, "top_k");
    options = five_tokens();
    options.sampling.no_repeat_ngram_size = value;
    check_generation(*engine, options, "no_repeat_ngram_size");
    options = five_tokens();
    options.max_new_tokens = value;
    check_generation(*engine, options, "max_new_tokens");
  }
  struct Case {
    const char* name;
    float SamplingParams::*field;
  };
  for (const Case& c :
       {Case{"temperature", &SamplingParams::temperature}, Case{"top_p", &SamplingParams::top_p},
        Case{"min_p", &SamplingParams::min_p}, Case{"typical_p", &SamplingParams::typical_p},
        Case{"epsilon_cutoff", &SamplingParams::epsilon_cutoff}, Case{"eta_cutoff", &SamplingParams::eta_cutoff},
        Case{"repetition_penalty", &SamplingParams::repetition_penalty}})
    for (const float value : {-kInf, -1.0F, 0.0F, 1e-38F, 0.5F, 1.0F, 1.5F, 1e30F, kInf, NAN}) {
      CAPTURE(value);
      GenerationOptions options = five_tokens();
      options.sampling.*c.field = value;
      check_generation(*engine, options, c.name);
    }
  for (const auto time : {std::chrono::steady_clock::time_point::min(), std::chrono::steady_clock::time_point(),
                          std::chrono::steady_clock::time_point::max()}) {
    GenerationOptions options = five_tokens();
    options.deadline = time;
    check_generation(*engine, options, "deadline");
  }
  GenerationOptions options = five_tokens();
  options.stop_strings = {"", std::string(1 << 20, 'x'), std::string("\0", 1), "\xFF\xFE"};
  check_generation(*engine, options, "stop");
}

TEST_CASE("options: a sequence's own, at their extremes") {
  const auto engine = must(Engine::create(small_model()));
  for (const int value : {kMin, -1, 0, 1, 64, 65, 100, 101, 300, 384, kMax}) {
    CAPTURE(value);
    for (int SequenceOptions::*field :
         {&SequenceOptions::prefix_priority, &SequenceOptions::recent_window, &SequenceOptions::n_sinks}) {
      SequenceOptions options;
      options.recent_window = 100;
      options.*field = value;
      Session session = must(engine->session(options));
      const auto done = session.generate(std::vector<int32_t>{1, 2, 3}, five_tokens());
      if (!done) CHECK(done.error().code == ErrorCode::invalid_argument);
    }
  }
  for (const SequenceId id : {std::numeric_limits<SequenceId>::min(), SequenceId{-1}, SequenceId{0}, SequenceId{12345},
                              std::numeric_limits<SequenceId>::max()}) {
    CHECK(code_of(engine->cancel(id)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->fork(id, {})) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->truncate(id, 1)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->remove(id, 0, 1)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->extend(id, {}, 1)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->extend(id, {}, five_tokens())) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->set_sampling(id, {})) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->info(id)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->save(id, "/nowhere")) == ErrorCode::invalid_argument);
  }
  const SequenceId id = must(engine->submit([] {
    Request request;
    request.prompt = {1, 2, 3};
    request.max_new_tokens = 0;
    request.keep = true;
    return request;
  }()));
  must(engine->step());
  for (const int n : {kMin, -1, 0, 4, kMax}) {
    CHECK(code_of(engine->truncate(id, n)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->remove(id, n, kMax)) == ErrorCode::invalid_argument);
    CHECK(code_of(engine->remove(id, 1, n == 0 ? -2 : n)) == ErrorCode::invalid_argument);
  }
  CHECK(must(engine->info(id)).n_tokens == 3);
}

}  // namespace decant::test
