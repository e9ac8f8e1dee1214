// SPDX-License-Identifier: Apache-2.0
// What an engine tells its observer.
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/profile.h"

#include "engine/profile/filled_sequence.h"
#include "engine/profile/token_bytes.h"
#include "tests/support/fixtures.h"
#include "tests/support/made_model.h"
#include "tests/support/temp_dir.h"

namespace decant::profile {
namespace {

using Clock = std::chrono::steady_clock;

std::shared_ptr<const Model> tiny_model() { return test::made_model("tiny", "q8_0"); }

EngineOptions options_of(int n_threads, StepObserver on_step) {
  EngineOptions options;
  options.n_threads = n_threads;
  options.n_ctx = 1024;
  options.max_sequences = 4;
  options.max_step_tokens = 64;
  options.cache.prefix_bytes = 0;
  options.on_step = std::move(on_step);
  return options;
}

std::unique_ptr<Engine> engine_of(const std::shared_ptr<const Model>& model, int n_threads, StepObserver on_step) {
  Result<std::unique_ptr<Engine>> engine = Engine::create(model, options_of(n_threads, std::move(on_step)));
  REQUIRE(engine);
  return std::move(*engine);
}

Request request_of(int n_prompt, int n_new) {
  Request request;
  for (int i = 0; i < n_prompt; ++i) request.prompt.push_back(i * 7 % 512);
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = n_new;
  request.ignore_end = true;
  return request;
}

void run(Engine& engine) {
  while (engine.n_sequences() > 0) {
    const Result<StepReport> report = engine.step();
    REQUIRE(report);
    if (report->idle) return;
  }
}

/// Whether operations follow each other from the step's beginning to its end.
bool without_gap(const StepProfile& step) {
  int64_t at = 0;
  for (const OpProfile& op : step.ops) {
    if (op.begin_ns != at || op.end_ns < op.begin_ns || op.wait_ns < 0) return false;
    at = op.end_ns;
  }
  return std::abs(at - step.elapsed_ns) <= 1;  // the last of a sum of rounded times
}

/// Whether every lap lies within its operation, after the one before it.
bool laps_in_order(const StepProfile& step) {
  for (const ThreadProfile& thread : step.threads) {
    int64_t at = 0, busy = 0;
    for (const LapProfile& lap : thread.laps) {
      const OpProfile& op = step.ops[static_cast<size_t>(lap.op)];
      if (lap.begin_ns < std::max(at, op.begin_ns) || lap.end_ns < lap.begin_ns || lap.end_ns > op.end_ns) return false;
      at = lap.end_ns;
      busy += lap.end_ns - lap.begin_ns;
    }
    if (busy != thread.busy_ns || busy > step.elapsed_ns + 1) return false;
  }
  return true;
}

std::vector<std::string> names_of(const StepProfile& step) {
  std::vector<std::string> names;
  for (const OpProfile& op : step.ops)
    names.push_back(op.layer < 0 ? to_string(op.op) : to_string(op.op) + std::to_string(op.layer));
  return names;
}

}  // namespace

TEST_CASE("step profile: operations fill the step without a gap, and threads' laps lie within them") {
  const auto model = tiny_model();
  for (const int n_threads : {1, 2, 4}) {
    CAPTURE(n_threads);
    int n_steps = 0, n_prefill = 0, n_decode = 0, n_wrong = 0;
    const auto engine = engine_of(model, n_threads, [&](const StepProfile& step) {
      ++n_steps;
      n_prefill += step.n_prefill_tokens;
      n_decode += step.n_decode_tokens;
      if (!without_gap(step) || !laps_in_order(step) || static_cast<int>(step.threads.size()) != n_threads) ++n_wrong;
    });
    REQUIRE(engine->submit(request_of(100, 20)));
    REQUIRE(engine->submit(request_of(3, 20)));
    run(*engine);
    CHECK(n_wrong == 0);
    CHECK(n_prefill == 100 + 3);
    CHECK(n_decode == 19 + 19);
    CHECK(n_steps > 19);
  }
}

TEST_CASE("step profile: operations in the order of the transformer; no head where no logits are wanted") {
  std::vector<std::vector<std::string>> steps;
  const auto engine = engine_of(tiny_model(), 2, [&](const StepProfile& step) { steps.push_back(names_of(step)); });
  REQUIRE(engine->submit(request_of(70, 2)));
  run(*engine);
  const auto expected = [](bool logits) {
    std::vector<std::string> names = {"schedule", "embed", "rotation"};
    for (const char* const layer : {"0", "1"})
      for (const char* const op :
           {"attn_norm", "qkv", "kv_append", "attention", "attn_output", "ffn_norm", "ffn_up", "ffn_down"})
        names.push_back(std::string(op) + layer);
    if (logits) names.insert(names.end(), {"output_norm", "head"});
    names.insert(names.end(), {"sample", "commit"});
    return names;
  };
  REQUIRE(steps.size() == 3);  // 64 tokens of the prompt, 6, a decode
  CHECK(steps[0] == expected(false));
  CHECK(steps[1] == expected(true));
  CHECK(steps[2] == expected(true));
}

TEST_CASE("step profile: operations and the rest add up to the time that a program sees, within 2 %") {
  const auto model = tiny_model();
  for (const int n_threads : {1, 2})
    for (const int depth : {0, 700})
      for (const int n_prompt : {1, 60}) {  // decode, prefill
        CAPTURE(n_threads);
        CAPTURE(depth);
        CAPTURE(n_prompt);
        double named_ns = 0.0;
        const auto engine = engine_of(model, n_threads, [&](const StepProfile& step) {
          named_ns = 0.0;
          for (const OpProfile& op : step.ops) named_ns += static_cast<double>(op.end_ns - op.begin_ns);
        });
        const Result<SequenceId> id = add_filled_sequence(*engine, depth);
        REQUIRE(id);
        // Another process may take the CPU between the two clocks: the nearest of many steps counts.
        double nearest = 1.0;
        for (int i = 0; i < 40; ++i) {
          REQUIRE(engine->extend(*id, std::vector<int32_t>(static_cast<size_t>(n_prompt - 1), 5), 1));
          const Clock::time_point start = Clock::now();
          REQUIRE(engine->step());
          const double seen_ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
          CHECK(named_ns <= seen_ns);
          nearest = std::min(nearest, 1.0 - named_ns / seen_ns);
          REQUIRE(engine->truncate(*id, depth + 1));
        }
        // Telling the observer comes after the step, and is dear beside one of this small model.
        CHECK(nearest < (n_prompt == 1 ? 0.1 : 0.02));
      }
}

TEST_CASE("step profile: bytes are those of the shape, to the byte") {
  const auto model = tiny_model();
  std::map<std::pair<std::string, int>, size_t> bytes;
  size_t total = 0;
  const auto engine = engine_of(model, 2, [&](const StepProfile& step) {
    bytes.clear();
    for (const OpProfile& op : step.ops) bytes[{to_string(op.op), op.layer}] = op.bytes;
    total = step.bytes();
  });
  constexpr size_t kDepth = 300;
  const Result<SequenceId> id = add_filled_sequence(*engine, kDepth);
  REQUIRE(id);
  REQUIRE(engine->extend(*id, {}, 1));
  REQUIRE(engine->step());
  const auto q8_0 = [](size_t elements) { return elements / 32 * 34; };
  for (const int layer : {0, 1}) {
    CHECK(bytes.at({"attn_norm", layer}) == 256 * 4);
    CHECK(bytes.at({"qkv", layer}) == q8_0(256 * (256 + 128 + 128)));
    CHECK(bytes.at({"kv_append", layer}) == 0);
    CHECK(bytes.at({"attention", layer}) == kDepth * 2 * 2 * 64 * 2);  // K and V, kv heads, channels, f16
    CHECK(bytes.at({"attn_output", layer}) == q8_0(256 * 256));
    CHECK(bytes.at({"ffn_norm", layer}) == 256 * 4);
    CHECK(bytes.at({"ffn_up", layer}) == q8_0(2 * 256 * 512));
    CHECK(bytes.at({"ffn_down", layer}) == q8_0(256 * 512));
  }
  CHECK(bytes.at({"output_norm", -1}) == 256 * 4);
  CHECK(bytes.at({"head", -1}) == q8_0(256 * 512));
  CHECK(bytes.at({"embed", -1}) == 0);  // tied: the head's
  CHECK(total == weight_bytes_per_token(*model) + kv_bytes_at(*engine, *id, kDepth));
}

TEST_CASE("step profile: a window's bytes end with the window, an untied embedding counts a row a token") {
  const test::TempDir folder;
  folder.write("config.json", R"({"model_type": "mistral", "num_hidden_layers": 1, "hidden_size": 64,
      "intermediate_size": 128, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 512,
      "max_position_embeddings": 1024, "sliding_window": 100, "tie_word_embeddings": false})");
  const auto model = test::made_model(folder.path("config.json"), "f16");
  std::vector<std::pair<size_t, size_t>> bytes;  // of embed, of attention
  const auto engine = engine_of(model, 1, [&](const StepProfile& step) {
    bytes.emplace_back();
    for (const OpProfile& op : step.ops) {
      if (op.op == Op::embed) bytes.back().first = op.bytes;
      if (op.op == Op::attention) bytes.back().second += op.bytes;
    }
  });
  REQUIRE(engine->submit(request_of(150, 2)));
  run(*engine);
  REQUIRE(bytes.size() == 4);
  constexpr size_t kToken = 2 * 64 * 2;
  REQUIRE(model->info().window == 100);
  CHECK(bytes[0] == std::pair<size_t, size_t>(64 * 64 * 2, 0));
  CHECK(bytes[1] == std::pair<size_t, size_t>(64 * 64 * 2, 64 * kToken));
  CHECK(bytes[2] == std::pair<size_t, size_t>(22 * 64 * 2, 99 * kToken));
  CHECK(bytes[3] == std::pair<size_t, size_t>(1 * 64 * 2, 99 * kToken));
}

TEST_CASE("step profile: an observer changes no token") {
  const auto model = tiny_model();
  const auto tokens = [&](StepObserver on_step) {
    const auto engine = engine_of(model, 2, std::move(on_step));
    REQUIRE(engine->submit(request_of(90, 40)));
    std::vector<int32_t> ids;
    while (engine->n_sequences() > 0) {
      const Result<StepReport> report = engine->step();
      REQUIRE(report);
      for (const Piece& event : report->pieces) ids.push_back(event.token_id);
    }
    return ids;
  };
  const std::vector<int32_t> alone = tokens({});
  CHECK(alone.size() == 40);
  CHECK(tokens([](const StepProfile&) {}) == alone);
}

TEST_CASE("step profile: nothing is told of a step that does nothing or fails") {
  int n_told = 0;
  const auto engine = engine_of(tiny_model(), 2, [&](const StepProfile&) { ++n_told; });
  REQUIRE(engine->step());
  CHECK(n_told == 0);
  REQUIRE(engine->submit(request_of(5, 2)));
  std::stop_source stop;
  stop.request_stop();
  CHECK(engine->step(stop.get_token()).error().code == ErrorCode::cancelled);
  CHECK(n_told == 0);
  run(*engine);
  CHECK(n_told == 2);
}

TEST_CASE("step profile: each token's latency, from the submission to the first and from token to token") {
  LatencyHistograms histograms;
  std::vector<TokenTiming> timings;
  const auto engine = engine_of(tiny_model(), 2, [&](const StepProfile& step) {
    histograms.add(step);
    timings.insert(timings.end(), step.tokens.begin(), step.tokens.end());
  });
  const Clock::time_point start = Clock::now();
  const Result<SequenceId> a = engine->submit(request_of(100, 5)), b = engine->submit(request_of(2, 3));
  REQUIRE(a);
  REQUIRE(b);
  run(*engine);
  const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
  CHECK(timings.size() == 8);
  for (const SequenceId id : {*a, *b}) {
    int64_t sum = 0;
    int n_first = 0;
    for (const TokenTiming& timing : timings) {
      if (timing.sequence != id) continue;
      CHECK(timing.latency_ns > 0);
      CHECK(timing.first == (sum == 0));
      sum += timing.latency_ns;
      n_first += timing.first ? 1 : 0;
    }
    CHECK(n_first == 1);
    CHECK(sum <= elapsed);
  }
  CHECK(histograms.first_token.n() == 2);
  CHECK(histograms.inter_token.n() == 6);
}

TEST_CASE("latency histogram: a latency counts for the first bound that it doesn't exceed") {
  LatencyHistogram histogram(kInterTokenBounds);
  histogram.add(10'000'000);      // 0.01 s: the first bound
  histogram.add(10'000'001);      // beyond it
  histogram.add(81'000'000'000);  // beyond all
  REQUIRE(histogram.counts().size() == kInterTokenBounds.size() + 1);
  CHECK(histogram.counts().front() == 1);
  CHECK(histogram.counts()[1] == 1);
  CHECK(histogram.counts().back() == 1);
  CHECK(histogram.n() == 3);
  CHECK(histogram.sum_s() == doctest::Approx(81.020000001));
  for (const auto bounds : {std::span<const double>(kFirstTokenBounds), std::span<const double>(kInterTokenBounds)})
    CHECK(std::is_sorted(bounds.begin(), bounds.end()));
}

}  // namespace decant::profile
