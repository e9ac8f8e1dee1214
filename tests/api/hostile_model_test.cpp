// SPDX-License-Identifier: Apache-2.0
// Files that are broken on purpose: an Error, or a model whose steps return logits or an Error. Never a crash or a
// hang.
#include <algorithm>
#include <cmath>
#include <random>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

struct Tally {
  int refused = 0, failed_steps = 0, ran = 0;
};

/// Opens and runs a few steps. Whatever comes, it is a value.
void try_model(const std::string& path, Tally& tally) {
  ModelOptions options;
  options.n_threads = 1;
  const Result<std::shared_ptr<const Model>> model = Model::open(path, options);
  if (!model) {
    CHECK_FALSE(model.error().message.empty());
    ++tally.refused;
    return;
  }
  EngineOptions engine_options;
  engine_options.n_threads = 1;
  engine_options.max_sequences = 1;
  engine_options.max_step_tokens = 4;
  engine_options.n_ctx = std::min((*model)->info().n_ctx, 64);
  const Result<std::unique_ptr<Engine>> engine = Engine::create(*model, engine_options);
  if (!engine) {
    CHECK_FALSE(engine.error().message.empty());
    ++tally.refused;
    return;
  }
  Request request;
  request.prompt = {0, (*model)->info().vocab_size - 1, 1 % (*model)->info().vocab_size};
  request.max_new_tokens = 3;
  if (!(*engine)->submit(request)) {
    ++tally.refused;
    return;
  }
  while ((*engine)->n_sequences() > 0) {
    const Result<StepReport> report = (*engine)->step();
    if (!report) {
      CHECK_FALSE(report.error().message.empty());
      ++tally.failed_steps;
      return;
    }
    for (const Piece& event : report->pieces) CHECK(std::isfinite(event.logprob));
  }
  ++tally.ran;
}

void flip_gguf(int n_flips, uint32_t seed) {
  const TempDir folder;
  const std::string good = read_file(fixture("gguf/llama-gqa-q4_0.gguf"));
  std::mt19937 random(seed);
  Tally tally;
  for (int i = 0; i < n_flips; ++i) {
    std::string bad = good;
    // Half of them in the header, where structure is; up to four bytes at a time.
    const size_t range = i % 2 == 0 ? 4096 : bad.size();
    for (size_t n = 1 + random() % 4; n > 0; --n) bad[random() % range] = static_cast<char>(random());
    folder.write("model.gguf", bad);
    CAPTURE(i);
    try_model(folder.path("model.gguf"), tally);
  }
  CHECK(tally.refused > 0);
  CHECK(tally.ran > 0);
}

}  // namespace

TEST_CASE("hostile: byte flips of a whole GGUF file give an error or a model that runs") { flip_gguf(1500, 20260101); }

// Run by an entry of ctest's own, labelled slow.
TEST_CASE("hostile: ten thousand byte flips of a GGUF file" * doctest::skip()) { flip_gguf(10000, 20260102); }

TEST_CASE("hostile: weights full of infinities and NaNs make a step that names the layer, or none") {
  const TempDir folder;
  const std::string good = read_file(fixture("gguf/llama-gqa-f16.gguf"));
  std::mt19937 random(5);
  Tally tally;
  for (int i = 0; i < 60; ++i) {
    std::string bad = good;
    for (int n = 0; n < 200; ++n) {
      const size_t at = (bad.size() / 4 + random() % (bad.size() * 3 / 4 - 2)) & ~size_t{1};
      bad[at] = 0;
      bad[at + 1] = static_cast<char>(i % 2 == 0 ? 0x7C : 0x7E);  // infinity, NaN
    }
    folder.write("model.gguf", bad);
    try_model(folder.path("model.gguf"), tally);
  }
  CHECK(tally.failed_steps > 0);
}

TEST_CASE("hostile: a GGUF cut anywhere in its weights is refused") {
  const TempDir folder;
  const std::string good = read_file(fixture("gguf/llama-gqa-q4_0.gguf"));
  Tally tally;
  for (size_t size = 0; size < good.size(); size += size < 2048 ? 13 : 1013) {
    folder.write("model.gguf", std::string_view(good).substr(0, size));
    CAPTURE(size);
    const int before = tally.refused;
    try_model(folder.path("model.gguf"), tally);
    CHECK(tally.refused == before + 1);
  }
}

TEST_CASE("hostile: flips of a safetensors header, a config and a tokenizer give an error or a model that runs") {
  const TempDir folder;
  const std::string from = fixture("models/llama-gqa");
  const char* const names[] = {"model.safetensors", "config.json", "tokenizer.json"};
  std::string good[3];
  for (int f = 0; f < 3; ++f) {
    good[f] = read_file(from + "/" + names[f]);
    folder.write(names[f], good[f]);
  }
  std::mt19937 random(11);
  Tally tally;
  for (int i = 0; i < 600; ++i) {
    const int f = i % 3;
    std::string bad = good[f];
    const size_t range = f == 0 ? 3000 : bad.size();
    for (size_t n = 1 + random() % 3; n > 0; --n) bad[random() % range] = static_cast<char>(random());
    folder.write(names[f], bad);
    CAPTURE(i);
    try_model(folder.path(), tally);
    folder.write(names[f], good[f]);
  }
  CHECK(tally.refused > 0);
  CHECK(tally.ran > 0);
}

}  // namespace decant::test
