// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/measure.h"

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "engine/profile/filled_sequence.h"
#include "engine/profile/token_bytes.h"
#include "tests/support/fixtures.h"
#include "tests/support/made_model.h"
#include "tests/support/temp_dir.h"

namespace decant::profile {
namespace {

std::unique_ptr<Engine> engine_of(const std::shared_ptr<const Model>& model, int n_threads = 1,
                                  KvType kv_type = KvType::f16, int max_sequences = 1) {
  EngineOptions options;
  options.n_threads = n_threads;
  options.n_ctx = 1024;
  options.max_sequences = max_sequences;
  options.cache.k_type = options.cache.v_type = kv_type;
  Result<std::unique_ptr<Engine>> engine = Engine::create(model, options);
  REQUIRE(engine);
  return std::move(*engine);
}

std::vector<int32_t> decode(Engine& engine, SequenceId id, int n) {
  REQUIRE(engine.extend(id, {}, n));
  std::vector<int32_t> ids;
  for (;;) {
    const Result<StepReport> report = engine.step();
    REQUIRE(report);
    if (report->idle) return ids;
    CHECK(report->stats.n_decode_tokens == 1);
    for (const Piece& event : report->pieces) ids.push_back(event.token_id);
  }
}

TEST_CASE("filled_sequence: decodes from its depth on, alike with any number of threads and after a rewind") {
  const auto model = test::made_model();
  for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16, KvType::q8, KvType::q4, KvType::q4_plain}) {
    CAPTURE(to_string(type));
    for (const int depth : {0, 1, 129, 700}) {
      CAPTURE(depth);
      const auto one = engine_of(model, 1, type), three = engine_of(model, 3, type);
      const Result<SequenceId> a = add_filled_sequence(*one, depth), b = add_filled_sequence(*three, depth);
      REQUIRE(a);
      REQUIRE(b);
      CHECK(one->info(*a)->n_computed == depth);
      CHECK(one->info(*a)->n_tokens == depth + 1);
      CHECK(one->info(*a)->paused);
      const std::vector<int32_t> ids = decode(*one, *a, 5);
      CHECK(ids.size() == 5);
      CHECK(decode(*three, *b, 5) == ids);
      REQUIRE(one->truncate(*a, depth + 1));
      CHECK(decode(*one, *a, 5) == ids);
    }
  }
}

TEST_CASE("filled_sequence: one that has no room leaves the engine as it was") {
  const auto engine = engine_of(test::made_model());
  CHECK(add_filled_sequence(*engine, 1024).error().code == ErrorCode::invalid_argument);
  CHECK(engine->n_sequences() == 0);
  REQUIRE(add_filled_sequence(*engine, 10));
  CHECK(add_filled_sequence(*engine, 10).error().code == ErrorCode::cache_full);
  CHECK(engine->n_sequences() == 1);
}

TEST_CASE("token_bytes: weights once, and keys and values as the cache stores them") {
  const test::TempDir folder;
  const auto weight_bytes = [](const std::string& shape, const char* type) {
    const auto model = test::made_model(shape, type);
    return std::pair(weight_bytes_per_token(*model), model->info().file_bytes);
  };
  const auto [tied, tied_file] = weight_bytes("tiny", "q8_0");
  CHECK(tied == tied_file);
  folder.write("config.json", R"({"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64,
      "intermediate_size": 128, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 300,
      "max_position_embeddings": 128, "tie_word_embeddings": false})");
  const auto [untied, untied_file] = weight_bytes(folder.path("config.json"), "f16");
  CHECK(untied == untied_file - 299 * 64 * 2);

  const auto model = test::made_model();
  struct PositionBytes {
    KvType type;
    size_t bytes;
  };
  constexpr PositionBytes kPositions[] = {{KvType::f32, 2 * 2 * 2 * 64 * 4},  // layers, heads, K and V
                                          {KvType::f16, 2 * 2 * 2 * 64 * 2},
                                          {KvType::q8, 2 * 2 * 2 * 2 * 34},
                                          {KvType::q4, 2 * 2 * 2 * 2 * 18}};
  for (const PositionBytes& position : kPositions) {
    CAPTURE(to_string(position.type));
    const auto engine = engine_of(model, 1, position.type);
    const Result<SequenceId> id = add_filled_sequence(*engine, 100);
    REQUIRE(id);
    CHECK(kv_bytes_at(*engine, *id, 100) == 100 * position.bytes);
    CHECK(kv_bytes_at(*engine, *id, 0) == 0);
  }
}

TEST_CASE("measure: a time for each step of each round, and the engine is empty afterwards") {
  const auto engine = engine_of(test::made_model(), 2, KvType::f16, 3);
  Result<ReadBandwidth> memory = ReadBandwidth::create();
  REQUIRE(memory);
  Task task;
  task.depth = 200;
  task.n_tokens = 4;
  task.n_sequences = 3;
  task.n_rounds = 2;
  const Result<Timings> decode = measure_decode(*engine, *memory, task);
  REQUIRE(decode);
  CHECK(decode->seconds.size() == 8);
  CHECK(decode->bandwidth.size() == 2);
  CHECK(decode->kv_bytes == 3 * 200 * 1024);
  for (const double seconds : decode->seconds) CHECK(seconds > 0.0);
  const DecodeFigures figures = decode_figures(*decode, 1000, 3);
  CHECK(figures.bytes == 1000 + 3 * 200 * 1024);
  CHECK(figures.ms_p50 <= figures.ms_p90);
  CHECK(figures.ms_p90 <= figures.ms_p99);
  CHECK(figures.tokens_per_s == doctest::Approx(3000.0 / figures.ms_p50));
  CHECK(figures.bandwidth_share == doctest::Approx(figures.gb_per_s / figures.bandwidth_gb_per_s));

  task.n_sequences = 1;
  task.n_tokens = 600;
  const Result<Timings> prefill = measure_prefill(*engine, *memory, task);
  REQUIRE(prefill);
  CHECK(prefill->seconds.size() == 2);
  CHECK(engine->n_sequences() == 0);

  task.n_tokens = 2000;
  CHECK(measure_prefill(*engine, *memory, task).error().code == ErrorCode::invalid_argument);
  std::stop_source stop;
  stop.request_stop();
  task.n_tokens = 4;
  task.stop = stop.get_token();
  CHECK(measure_decode(*engine, *memory, task).error().code == ErrorCode::cancelled);
  CHECK(engine->n_sequences() == 0);
}

}  // namespace
}  // namespace decant::profile
