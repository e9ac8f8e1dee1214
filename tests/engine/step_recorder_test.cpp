// SPDX-License-Identifier: Apache-2.0
#include "engine/step_recorder.h"

#include <memory>

#include <doctest/doctest.h>

#include "decant/engine.h"

#include "engine/engine_impl.h"
#include "tests/support/failing_new.h"
#include "tests/support/made_model.h"
#include "tests/support/temp_dir.h"

namespace decant {
namespace {

Request request_of(int n_prompt, int max_new_tokens) {
  Request request;
  for (int i = 0; i < n_prompt; ++i) request.prompt.push_back(i + 1);
  request.max_new_tokens = max_new_tokens;
  request.ignore_end = true;
  request.share_prefix = false;
  request.detokenize = false;
  return request;
}

size_t attention_bytes(const StepProfile& step) {
  size_t bytes = 0;
  for (const OpProfile& op : step.ops) bytes += op.op == Op::attention ? op.bytes : 0;
  return bytes;
}

TEST_CASE("step_recorder: an observed step calls no allocator, with any number of threads") {
  for (const int n_threads : {1, 4}) {
    CAPTURE(n_threads);
    int n_told = 0;
    EngineOptions options;
    options.n_threads = n_threads;
    options.n_ctx = 256;
    options.max_sequences = 3;
    options.cache.prefix_bytes = 0;
    options.on_step = [&](const StepProfile&) { ++n_told; };
    Result<std::unique_ptr<Engine>> engine = Engine::create(test::made_model(), options);
    REQUIRE(engine);
    for (const int n_prompt : {2, 40, 3}) REQUIRE((*engine)->submit(request_of(n_prompt, 150)));
    REQUIRE((*engine)->step());
    const int64_t before = test::n_allocations();
    for (int i = 0; i < 100; ++i) {
      const Result<StepReport> report = (*engine)->step();
      REQUIRE(report.ok());
    }
    CHECK(test::n_allocations() == before);
    CHECK(n_told == 101);
  }
}

TEST_CASE("step_recorder: chunks of a prompt have neither logits nor tokens") {
  std::vector<size_t> n_ops;
  std::vector<int> n_tokens;
  EngineOptions options;
  options.n_threads = 3;
  options.n_ctx = 128;
  options.prefill_chunk = 16;
  options.on_step = [&](const StepProfile& step) {
    n_ops.push_back(step.ops.size());
    n_tokens.push_back(static_cast<int>(step.tokens.size()));
  };
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::made_model(), options);
  REQUIRE(engine);
  REQUIRE((*engine)->submit(request_of(40, 1)));
  for (int i = 0; i < 4; ++i) REQUIRE((*engine)->step());
  CHECK(n_ops == std::vector<size_t>{21, 21, 23});
  CHECK(n_tokens == std::vector<int>{0, 0, 1});
}

TEST_CASE("step_recorder: many prompts in one step are recorded within what was reserved") {
  EngineOptions options;
  options.n_threads = 4;
  options.n_ctx = 128;
  options.max_sequences = 60;
  options.max_step_tokens = 4096;
  size_t n_laps = 0;
  options.on_step = [&](const StepProfile& step) {
    for (const ThreadProfile& thread : step.threads) {
      CHECK(thread.busy_ns <= step.elapsed_ns);
      int64_t at = 0;
      for (const LapProfile& lap : thread.laps) {
        CHECK(lap.begin_ns >= at);
        CHECK(lap.end_ns >= lap.begin_ns);
        at = lap.end_ns;
        ++n_laps;
      }
    }
  };
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::made_model(), options);
  REQUIRE(engine);
  for (int i = 0; i < 60; ++i) REQUIRE((*engine)->submit(request_of(40 + i % 3, 8)));
  for (int i = 0; i < 8; ++i) REQUIRE((*engine)->step());
  CHECK(n_laps > 0);
}

TEST_CASE("step_recorder: bytes of keys and values are right though the first step ended the first sequence") {
  size_t bytes = 0;
  EngineOptions options;
  options.n_threads = 1;
  options.n_ctx = 128;
  options.on_step = [&](const StepProfile& step) { bytes = attention_bytes(step); };
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::made_model(), options);
  REQUIRE(engine);
  REQUIRE((*engine)->submit(request_of(5, 1)));
  REQUIRE((*engine)->step());
  REQUIRE((*engine)->n_sequences() == 0);
  REQUIRE((*engine)->submit(request_of(5, 2)));
  REQUIRE((*engine)->step());
  REQUIRE((*engine)->step());
  CHECK(bytes == 5 * 1024);  // f16: two layers, K and V, two heads of 64
}

TEST_CASE("step_recorder: an observed text without end reads its sinks and its window") {
  EngineOptions options;
  options.n_threads = 1;
  options.n_ctx = 512;
  size_t bytes = 0;
  options.on_step = [&](const StepProfile& step) { bytes = attention_bytes(step); };
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::made_model(), options);
  REQUIRE(engine);
  Request request = request_of(8, 0);
  request.n_sinks = 4;
  request.recent_window = 128;
  request.max_new_tokens = 600;
  const Result<SequenceId> id = (*engine)->submit(std::move(request));
  REQUIRE(id);
  size_t most = 0;
  for (int i = 0; i < 600; ++i) {
    REQUIRE((*engine)->step());
    most = std::max(most, bytes);
  }
  // The window's start moves by kSlideTokens at once; a token doesn't read itself.
  CHECK(most == (4 + 128 + kSlideTokens - 2) * 1024);
}

}  // namespace
}  // namespace decant
