// SPDX-License-Identifier: Apache-2.0
// Logits, hidden states, attention outputs, keys and values of the fixture models against transformers in float32.
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include <doctest/doctest.h>

#include "engine/engine_impl.h"
#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

// The reference's own float32 noise is at most 3.3e-5; see the fixtures' README for these two bounds.
constexpr double kLogitTolerance = 2e-4;
constexpr double kHiddenTolerance = 1e-4;

const std::string kModels[] = {"llama-mha", "llama-gqa", "mistral", "qwen2", "qwen3", "gpt2"};

void check_prompt(const std::shared_ptr<const Model>& model, const std::map<std::string, Array>& reference,
                  const std::string& prompt) {
  const std::vector<int32_t> ids = reference.at(prompt + ".input_ids").i32();
  const int n = static_cast<int>(ids.size());
  const std::vector<float> expected = reference.at(prompt + ".logits").f32();
  for (const int chunk : {n, 1, 5, 16}) {
    CAPTURE(chunk);
    EngineOptions options = logits_options(n);
    options.prefill_chunk = chunk;
    CHECK(max_difference(prompt_logits(model, ids, options).values, expected) <= kLogitTolerance);
  }
  EngineOptions options = logits_options(n);
  options.prefill_chunk = 5;
  CHECK(greedy_ids(model, ids, 32, options) == reference.at(prompt + ".greedy_ids").i32());
}

/// Keeps what the fixtures have of each layer.
class Recorder final : public ForwardProbe {
 public:
  Recorder(int d_model, int attention_width) : d_model_(d_model), attention_width_(attention_width) {}
  void after_layer(const StepPlan& plan, int layer, const float* x, ptrdiff_t x_stride, const float* attention,
                   ptrdiff_t attention_stride) override {
    std::vector<float>& rows = hidden[layer];
    for (int t = 0; t < plan.n_tokens(); ++t) rows.insert(rows.end(), x + t * x_stride, x + t * x_stride + d_model_);
    const float* const last = attention + (plan.n_tokens() - 1) * attention_stride;
    attention_out[layer].assign(last, last + attention_width_);
  }
  std::map<int, std::vector<float>> hidden, attention_out;

 private:
  int d_model_, attention_width_;
};

void check_inside(const std::shared_ptr<const Model>& model, const std::map<std::string, Array>& reference,
                  const std::string& prompt) {
  const std::vector<int32_t> ids = reference.at(prompt + ".input_ids").i32();
  const ModelInfo& info = model->info();
  const std::unique_ptr<Engine> engine = must(Engine::create(model, logits_options(static_cast<int>(ids.size()))));
  Recorder recorder(info.d_model, info.n_heads * info.head_dim);
  engine->impl().forward->set_probe(&recorder);
  Request request;
  request.prompt = ids;
  request.max_new_tokens = 1;
  request.ignore_end = true;
  must(engine->submit(request));
  // One chunk short of the end, so that the sequence is still alive when its cache is read.
  must(engine->step());
  int n_compared = 0;
  for (int layer = 0; layer < info.n_layers; ++layer) {
    const auto hidden = reference.find(prompt + ".hidden." + std::to_string(layer));
    const auto attention = reference.find(prompt + ".attn_out." + std::to_string(layer));
    CAPTURE(layer);
    if (hidden != reference.end()) {
      CHECK(max_difference(recorder.hidden[layer], hidden->second.f32()) <= kHiddenTolerance);
      ++n_compared;
    }
    if (attention != reference.end()) {
      CHECK(max_difference(recorder.attention_out[layer], attention->second.f32()) <= kHiddenTolerance);
      ++n_compared;
    }
  }
  CHECK(n_compared >= 4);
}

void check_keys_and_values(const std::shared_ptr<const Model>& model, const std::map<std::string, Array>& reference) {
  const std::vector<int32_t> ids = reference.at("p0.input_ids").i32();
  const ModelInfo& info = model->info();
  const int n = static_cast<int>(ids.size()), heads = info.n_kv_heads, dim = info.head_dim;
  const std::unique_ptr<Engine> engine = must(Engine::create(model, logits_options(n)));
  Request request;
  request.prompt = ids;
  request.max_new_tokens = 2;
  request.ignore_end = true;
  must(engine->submit(request));
  must(engine->step());
  const auto count = static_cast<size_t>(n * heads * dim);
  std::vector<float> k(count), v(count);
  must(engine->impl().cache->copy_out(engine->impl().scheduler->slot(0).cache, 0, 0, n, k.data(), v.data()));
  const std::vector<float> expected_k = reference.at("p0.key.0").f32(), expected_v = reference.at("p0.value.0").f32();
  double difference = 0.0;
  for (int t = 0; t < n; ++t)
    for (int h = 0; h < heads; ++h)
      for (int c = 0; c < dim; ++c) {
        const auto ours = static_cast<size_t>((t * heads + h) * dim + c),
                   theirs = static_cast<size_t>((h * n + t) * dim + c);
        difference = std::max(difference, std::fabs(static_cast<double>(k[ours]) - expected_k[theirs]));
        difference = std::max(difference, std::fabs(static_cast<double>(v[ours]) - expected_v[theirs]));
      }
  CHECK(difference <= kHiddenTolerance);
}

/// Mean over positions of KL(softmax(expected) ‖ softmax(ours)), in nats.
double mean_kl(const Logits& ours, std::span<const float> expected) {
  double sum = 0.0;
  const auto vocab = static_cast<size_t>(ours.vocab_size);
  for (int r = 0; r < ours.n_rows; ++r) {
    const std::span<const float> a = expected.subspan(static_cast<size_t>(r) * vocab, vocab), b = ours.row(r);
    const auto log_sum = [](std::span<const float> x) {
      double total = 0.0;
      for (const float value : x) total += std::exp(static_cast<double>(value));
      return std::log(total);
    };
    const double za = log_sum(a), zb = log_sum(b);
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(a[i] - za) * ((a[i] - za) - (b[i] - zb));
  }
  return sum / ours.n_rows;
}

double deviation(std::span<const float> values) {
  const double n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  return std::sqrt(std::accumulate(values.begin(), values.end(), 0.0,
                                   [&](double s, float x) { return s + (x - mean) * (x - mean); }) /
                   n);
}

}  // namespace

TEST_CASE("model: a safetensors directory gives transformers' logits, at once, in chunks and token by token") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const std::string directory = fixture("models/" + name);
    const std::shared_ptr<const Model> model = open_model(directory);
    const std::map<std::string, Array> reference = read_arrays(directory + "/reference.safetensors");
    for (const std::string prompt : {"p0", "p1"}) {
      CAPTURE(prompt);
      check_prompt(model, reference, prompt);
      check_inside(model, reference, prompt);
    }
    check_keys_and_values(model, reference);
  }
}

TEST_CASE("model: the older spelling of config.json means the same model") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const std::string directory = fixture("models/" + name);
    const TempDir older;
    older.link_all(directory);
    std::filesystem::rename(older.path("config.v4.json"), older.path("config.json"));
    const std::vector<int32_t> ids = read_arrays(directory + "/reference.safetensors").at("p1.input_ids").i32();
    const EngineOptions options = logits_options(static_cast<int>(ids.size()));
    CHECK(prompt_logits(open_model(directory), ids, options) == prompt_logits(open_model(older.path()), ids, options));
  }
}

TEST_CASE("model: the logits that choose the greedy tokens are transformers' own") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const std::string directory = fixture("models/" + name);
    const std::map<std::string, Array> reference = read_arrays(directory + "/reference.safetensors");
    std::vector<int32_t> ids = reference.at("p1.input_ids").i32();
    const int n_prompt = static_cast<int>(ids.size());
    for (const int32_t id : reference.at("p1.greedy_ids").i32()) ids.push_back(id);
    ids.pop_back();
    EngineOptions options = logits_options(static_cast<int>(ids.size()));
    options.prefill_chunk = 1;
    const Logits logits = prompt_logits(open_model(directory), ids, options);
    const std::span<const float> steps =
        std::span(logits.values).subspan(static_cast<size_t>(n_prompt - 1) * logits.vocab_size);
    CHECK(max_difference(steps, reference.at("p1.step_logits").f32()) <= kLogitTolerance);
  }
}

TEST_CASE("model: a GGUF gives the reference's logits, and int8 activations stay within the bound of their rounding") {
  const std::vector<std::string> required = {"llama-gqa-f16", "llama-gqa-q8_0", "llama-gqa-q4_0", "qwen2-q8_0",
                                             "qwen3-f16",     "gpt2-f16",       "llama-kmix",     "llama-legacymix"};
  std::vector<std::string> names = required;
  for (const char* const more : {"llama-gqa-f32", "llama-mha-f16", "qwen2-f16"})  // in the full set of fixtures
    if (std::filesystem::exists(fixture(std::string("gguf/") + more + ".gguf"))) names.emplace_back(more);
  for (const std::string& name : names) {
    CAPTURE(name);
    const std::string path = fixture("gguf/" + name + ".gguf");
    const std::map<std::string, Array> reference = read_arrays(fixture("gguf/" + name + ".reference.safetensors"));
    const std::shared_ptr<const Model> dequantized = open_model(path, Numerics::reference);
    for (const std::string prompt : {"p0", "p1"}) {
      CAPTURE(prompt);
      check_prompt(dequantized, reference, prompt);
    }
    const std::shared_ptr<const Model> exact = open_model(path);
    const std::vector<int32_t> ids = reference.at("p1.input_ids").i32();
    const std::vector<float> expected = reference.at("p1.logits").f32();
    const Logits logits = prompt_logits(exact, ids, logits_options(static_cast<int>(ids.size())));
    // Rounding to 8 bits leaves an error of at most d/2, in the mean d/√12, with d = amax/127; amax of 32 values is
    // about 3 deviations where some are loud, so that a product carries noise of 3/127/√12 = 0.7 % of its deviation.
    // Four products a layer and the head add up to r = 0.0068·√(4L + 1) of the logits' deviation s, and KL ≈ Var/2 =
    // (r·s)²/2. Twice that noise, for what norms and the softmax may amplify, makes the bound.
    const double noise = 2.0 * 0.0068 * std::sqrt(4.0 * exact->info().n_layers + 1.0) * deviation(expected);
    CHECK(mean_kl(logits, expected) <= noise * noise / 2.0);
  }
}

}  // namespace decant::test
