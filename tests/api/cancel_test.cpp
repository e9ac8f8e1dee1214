// SPDX-License-Identifier: Apache-2.0

// What is asked to stop, at any moment, runs no layer more than the one that is running, and leaves its text and cache
// as they were at the last whole step.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include <doctest/doctest.h>

#include "engine/engine_impl.h"
#include "tests/support/decode.h"
#include "tests/support/fixtures.h"

namespace decant::test {

namespace {

constexpr int kPrompt = 70, kGenerated = 24, kBlock = 16;

/// Counts layers, and does something after one of them.
class LayerProbe final : public ForwardProbe {
 public:
  void after_layer(const StepPlan&, int, const float*, ptrdiff_t, const float*, ptrdiff_t) override {
    if (++n_layers == at && then) then();
  }
  std::atomic<int64_t> n_layers = 0;
  int64_t at = -1;
  std::function<void()> then;
};

EngineOptions engine_options(bool windows) {
  EngineOptions options;
  options.n_threads = 1;
  options.max_sequences = 2;
  options.max_step_tokens = 16;  // a prompt takes several chunks
  options.cache.block_tokens = kBlock;
  options.cache.prefix_bytes = 0;
  options.cache.rollback_tokens = windows ? 512 : 0;  // nothing is given back, so that all of it can be looked at
  return options;
}

const Sequence* only_sequence(Engine& engine) {
  for (int i = 0; i < 2; ++i)
    if (const Sequence& sequence = engine.impl().scheduler->slot(i); sequence.id != 0) return &sequence;
  return nullptr;
}

/// Of a sequence's ids and of every key and value of its first n tokens.
uint64_t state_hash(Engine& engine, const Sequence& sequence, int n) {
  const model::ModelConfig& config = engine.model().parts().config;
  uint64_t hash = 0xCBF29CE484222325U;
  const auto mix = [&hash](const void* data, size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3U;
  };
  mix(sequence.ids.data(), static_cast<size_t>(n) * sizeof(int32_t));
  for (size_t l = 0; l < config.layers.size(); ++l) {
    const auto size = static_cast<size_t>(n * config.layers[l].n_kv_heads * config.head_dim);
    std::vector<float> k(size), v(size);
    must(engine.impl().cache->copy_out(sequence.cache, static_cast<int>(l), 0, n, k.data(), v.data()));
    mix(k.data(), size * sizeof(float));
    mix(v.data(), size * sizeof(float));
  }
  return hash;
}

/// What nobody stopped.
struct Undisturbed {
  std::vector<int32_t> prompt, ids;  ///< ids: the prompt's, too
  std::vector<uint64_t> hashes;      ///< by number of computed tokens
  int64_t n_layers = 0;

  Undisturbed(const std::shared_ptr<const Model>& model, bool windows)
      : prompt(random_ids(kPrompt, model->info().vocab_size, 5)) {
    const auto engine = must(Engine::create(model, engine_options(windows)));
    LayerProbe probe;
    engine->impl().forward->set_probe(&probe);
    Session session = must(engine->session());
    must(session.generate(prompt, greedy(kGenerated + 8)));
    ids = must(session.ids());
    const Sequence& sequence = *only_sequence(*engine);
    for (int n = 0; n <= sequence.n_computed; ++n) hashes.push_back(state_hash(*engine, sequence, n));
    n_layers = probe.n_layers * kGenerated / (kGenerated + 8);
  }
};

enum class Way { stop_token, session_cancel, callback_stop, callback_cancel, step_token, engine_cancel, n_ways };

}  // namespace

TEST_CASE("cancel: at two thousand moments, no further layer runs, and the state is that of the last step") {
  for (const char* const name : {"models/llama-gqa", "models/mistral"}) {
    CAPTURE(name);
    const bool windows = std::strstr(name, "mistral") != nullptr;
    const auto model = open_model(fixture(name));
    const Undisturbed expected(model, windows);
    const auto engine = must(Engine::create(model, engine_options(windows)));
    LayerProbe probe;
    engine->impl().forward->set_probe(&probe);
    std::mt19937 random(11);
    for (int moment = 0; moment < 1000; ++moment) {
      const auto way = static_cast<Way>(random() % static_cast<unsigned>(Way::n_ways));
      CAPTURE(moment);
      CAPTURE(static_cast<int>(way));
      probe.n_layers = 0;
      probe.at = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(expected.n_layers));
      std::stop_source source;
      GenerationOptions options = greedy(kGenerated + 8);
      bool asked = false;

      if (way == Way::step_token || way == Way::engine_cancel) {
        Request request;
        static_cast<GenerationOptions&>(request) = options;
        request.prompt = expected.prompt;
        request.keep = true;
        const SequenceId id = must(engine->submit(request));
        // cancel() of another thread waits for the step to end; what it leaves for the step to see is this.
        probe.then = [&] {
          asked = true;
          if (way == Way::step_token)
            source.request_stop();
          else
            engine->impl().to_cancel = id;
        };
        while (!asked) {
          const Result<StepReport> report = engine->step(source.get_token());
          if (!report) CHECK(report.error().code == ErrorCode::cancelled);
        }
        CHECK(probe.n_layers - probe.at == 0);
        engine->impl().to_cancel = 0;
        const Sequence& sequence = *only_sequence(*engine);
        CHECK(std::equal(sequence.ids.begin(), sequence.ids.end(), expected.ids.begin()));
        CHECK(state_hash(*engine, sequence, sequence.n_computed) ==
              expected.hashes[static_cast<size_t>(sequence.n_computed)]);
        must(engine->cancel(id));
        continue;
      }

      Session session = must(engine->session());
      if (way == Way::stop_token) options.stop = source.get_token();
      probe.then = [&] {
        asked = true;
        if (way == Way::stop_token) source.request_stop();
        if (way == Way::session_cancel) session.cancel();
      };
      int64_t layers_when_answered = -1;
      const Result<Completion> completion = session.generate(expected.prompt, options, [&](const Piece&) {
        if (!asked || way == Way::stop_token || way == Way::session_cancel) return Flow::go_on;
        layers_when_answered = probe.n_layers;
        return way == Way::callback_stop ? Flow::stop : Flow::cancel;
      });
      REQUIRE(completion);
      CHECK(probe.n_layers == (layers_when_answered >= 0 ? layers_when_answered : probe.at));
      CHECK(completion->finish == (way == Way::callback_stop ? FinishReason::stop : FinishReason::cancelled));
      const std::vector<int32_t> ids = must(session.ids());
      CHECK(ids.size() == kPrompt + completion->ids.size());
      CHECK(std::equal(ids.begin(), ids.end(), expected.ids.begin()));
      const Sequence& sequence = *only_sequence(*engine);
      CHECK(state_hash(*engine, sequence, sequence.n_computed) ==
            expected.hashes[static_cast<size_t>(sequence.n_computed)]);
      if (moment % 10 != 0) continue;
      probe.then = nullptr;
      const Completion rest = must(session.generate(std::span<const int32_t>(), greedy(8)));
      CHECK(std::equal(rest.ids.begin(), rest.ids.end(), expected.ids.begin() + static_cast<ptrdiff_t>(ids.size())));
    }
    engine->impl().forward->set_probe(nullptr);
  }
}

TEST_CASE("cancel: from another thread, the layer that is running is the last") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const Undisturbed expected(model, false);
  const auto engine = must(Engine::create(model, engine_options(false)));
  LayerProbe probe;
  engine->impl().forward->set_probe(&probe);
  std::mt19937 random(12);
  for (int moment = 0; moment < 200; ++moment) {
    CAPTURE(moment);
    probe.n_layers = 0;
    const auto at = static_cast<int64_t>(random() % static_cast<uint64_t>(expected.n_layers));
    Session session = must(engine->session());
    std::atomic<bool> begun = false, done = false;
    int64_t when_asked = 0;
    std::thread other([&] {
      while (!begun || (probe.n_layers < at && !done)) std::this_thread::yield();
      session.cancel();
      when_asked = probe.n_layers;
    });
    Stream stream = session.stream(expected.prompt, greedy(kGenerated + 8));
    begun = true;
    std::vector<int32_t> ids = expected.prompt;
    while (const Piece* const piece = stream.next())
      if (piece->token_id >= 0) ids.push_back(piece->token_id);
    const int64_t at_end = probe.n_layers;
    done = true;
    other.join();
    must(stream.status());
    if (stream.finish() == FinishReason::cancelled) CHECK(at_end - when_asked <= 1);
    CHECK(must(session.ids()) == ids);
    CHECK(std::equal(ids.begin(), ids.end(), expected.ids.begin()));
  }
  engine->impl().forward->set_probe(nullptr);
}

TEST_CASE("cancel: one of several in a step ends with the step, and the others don't notice") {
  const auto model = open_model(fixture("models/llama-gqa"));
  const Undisturbed expected(model, false);
  const auto engine = must(Engine::create(model, engine_options(false)));
  for (int at = 1; at < 40; ++at) {
    std::stop_source source;
    Request request;
    static_cast<GenerationOptions&>(request) = greedy(kGenerated);
    request.prompt = expected.prompt;
    const SequenceId stays = must(engine->submit(request));
    request.stop = source.get_token();
    const SequenceId goes = must(engine->submit(request));
    LayerProbe probe;
    engine->impl().forward->set_probe(&probe);
    probe.at = at;
    probe.then = [&] { source.request_stop(); };
    std::vector<int32_t> ids = expected.prompt;
    FinishReason finish = FinishReason::none;
    while (engine->n_sequences() > 0)
      for (const Piece& piece : must(engine->step()).pieces) {
        if (piece.sequence == goes && piece.finish != FinishReason::none) finish = piece.finish;
        if (piece.sequence == stays && piece.token_id >= 0) ids.push_back(piece.token_id);
      }
    engine->impl().forward->set_probe(nullptr);
    CHECK(finish == FinishReason::cancelled);
    CHECK(ids.size() == kPrompt + kGenerated);
    CHECK(std::equal(ids.begin(), ids.end(), expected.ids.begin()));
  }
}

TEST_CASE("cancel: opening a model stops at a token and at a deadline") {
  std::stop_source source;
  source.request_stop();
  ModelOptions options;
  options.stop = source.get_token();
  CHECK(code_of(Model::open(fixture("models/llama-gqa"), options)) == ErrorCode::cancelled);
  options.stop = {};
  options.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  CHECK(code_of(Engine::open(fixture("models/llama-gqa"), {}, options)) == ErrorCode::cancelled);
}

}  // namespace decant::test
