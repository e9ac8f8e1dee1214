// SPDX-License-Identifier: Apache-2.0
#include "tests/support/decode.h"

#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

#include "tests/support/fixtures.h"

namespace decant::test {

void fail_with(const Error& error) {
  throw std::runtime_error(std::string(to_string(error.code)) + ": " + error.message);
}

void must(const Status& status) {
  if (!status) fail_with(status.error());
}

std::vector<int32_t> random_ids(int n, int vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size)));
  return ids;
}

std::shared_ptr<const Model> open_model(const std::string& path, Numerics numerics) {
  ModelOptions options;
  options.numerics = numerics;
  options.n_threads = 2;
  return must(Model::open(path, options));
}

std::shared_ptr<const Model> small_model() {
  static const std::shared_ptr<const Model> model = open_model(fixture("models/llama-gqa"));
  return model;
}

EngineOptions small_options() {
  EngineOptions options;
  options.n_threads = 2;
  options.max_sequences = 3;
  options.max_step_tokens = 32;
  options.cache.block_tokens = 16;
  return options;
}

GenerationOptions greedy(int n) {
  GenerationOptions options;
  options.sampling.temperature = 0.0F;
  options.max_new_tokens = n;
  options.ignore_end = true;
  return options;
}

EngineOptions logits_options(int n_tokens) {
  EngineOptions options;
  options.n_threads = 1;
  options.max_sequences = 1;
  options.max_step_tokens = n_tokens;
  options.max_logit_rows = n_tokens;
  options.cache.k_type = options.cache.v_type = KvType::f32;
  options.cache.block_tokens = 16;
  return options;
}

bool Logits::operator==(const Logits& other) const {
  return n_rows == other.n_rows && vocab_size == other.vocab_size && values.size() == other.values.size() &&
         std::memcmp(values.data(), other.values.data(), values.size() * sizeof(float)) == 0;
}

std::vector<Logits> batch_logits(std::shared_ptr<const Model> model, const std::vector<std::vector<int32_t>>& prompts,
                                 const EngineOptions& options) {
  const int vocab_size = model->info().vocab_size;
  const std::unique_ptr<Engine> engine = must(Engine::create(std::move(model), options));
  std::vector<Logits> out(prompts.size());
  std::vector<SequenceId> ids;
  for (const std::vector<int32_t>& prompt : prompts) {
    Request request;
    request.prompt = prompt;
    request.max_new_tokens = 0;
    request.all_logits = true;
    out[ids.size()] = {static_cast<int>(prompt.size()), vocab_size,
                       std::vector<float>(prompt.size() * static_cast<size_t>(vocab_size), NAN)};
    ids.push_back(must(engine->submit(std::move(request))));
  }
  while (engine->n_sequences() > 0) {
    const StepReport report = must(engine->step());
    for (const LogitRows& rows : report.logits)
      for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] != rows.sequence) continue;
        for (int r = 0; r < rows.n_rows; ++r)
          std::memcpy(out[i].values.data() + static_cast<size_t>(rows.first_pos + r) * static_cast<size_t>(vocab_size),
                      rows.logits + static_cast<size_t>(r) * rows.row_stride,
                      static_cast<size_t>(vocab_size) * sizeof(float));
      }
  }
  return out;
}

Logits prompt_logits(std::shared_ptr<const Model> model, std::span<const int32_t> ids, const EngineOptions& options) {
  return batch_logits(std::move(model), {std::vector<int32_t>(ids.begin(), ids.end())}, options).front();
}

std::vector<int32_t> greedy_ids(std::shared_ptr<const Model> model, std::span<const int32_t> prompt, int n,
                                const EngineOptions& options) {
  const std::unique_ptr<Engine> engine = must(Engine::create(std::move(model), options));
  Request request;
  request.prompt.assign(prompt.begin(), prompt.end());
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = n;
  request.ignore_end = true;
  must(engine->submit(std::move(request)));
  std::vector<int32_t> ids;
  while (engine->n_sequences() > 0)
    for (const Piece& event : must(engine->step()).pieces)
      if (event.token_id >= 0) ids.push_back(event.token_id);
  return ids;
}

double max_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) throw std::runtime_error("sizes differ");
  double greatest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= greatest)) greatest = difference;  // a NaN counts as the greatest
  }
  return greatest;
}

uint64_t hash_bits(std::span<const float> values) {
  uint64_t hash = 0xCBF29CE484222325U;
  for (const float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    for (int byte = 0; byte < 4; ++byte) hash = (hash ^ ((bits >> (8 * byte)) & 0xFFU)) * 0x100000001B3U;
  }
  return hash;
}

}  // namespace decant::test
