// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

#include "engine/sampler/sampler.h"
#include "tests/support/fixtures.h"

using decant::SamplingParams;
using decant::sampler::Sampler;

namespace {

SamplingParams params_of(const nlohmann::json& json) {
  SamplingParams p;
  p.temperature = json.value("temperature", p.temperature);
  p.top_k = json.value("top_k", p.top_k);
  p.top_p = json.value("top_p", p.top_p);
  p.min_p = json.value("min_p", p.min_p);
  p.typical_p = json.value("typical_p", p.typical_p);
  p.epsilon_cutoff = json.value("epsilon_cutoff", p.epsilon_cutoff);
  p.eta_cutoff = json.value("eta_cutoff", p.eta_cutoff);
  p.repetition_penalty = json.value("repetition_penalty", p.repetition_penalty);
  p.no_repeat_ngram_size = json.value("no_repeat_ngram_size", p.no_repeat_ngram_size);
  return p;
}

}  // namespace

TEST_CASE("sampler: every case of the fixtures keeps exactly transformers' tokens, with their probabilities") {
  const nlohmann::json cases = decant::test::read_json(decant::test::fixture("sampling/cases.json"));
  const auto arrays = decant::test::read_arrays(decant::test::fixture("sampling/sampling.safetensors"));
  REQUIRE(cases.size() >= 160);
  for (const nlohmann::json& test : cases) {
    const std::string id = test.at("id");
    CAPTURE(id);
    const SamplingParams params = params_of(test.at("params"));
    REQUIRE(decant::sampler::validate(params).ok());
    const std::vector<float> logits = arrays.at(id + ".logits").f32();
    const std::vector<float> expected = arrays.at(id + ".probs").f32();
    const auto history = test.at("previous_ids").get<std::vector<int32_t>>();
    Sampler sampler(static_cast<int>(logits.size()));
    std::vector<double> probs(logits.size());
    REQUIRE(sampler.probabilities(logits, params, history, probs).ok());

    // The fixture is in float32, where a probability that binary64 still holds may be 0.
    const auto is_kept = [](double p) { return static_cast<float>(p) > 0.0F; };
    int kept = 0, other_set = 0;
    double worst = 0.0;
    for (size_t i = 0; i < probs.size(); ++i) {
      kept += is_kept(probs[i]) ? 1 : 0;
      other_set += is_kept(probs[i]) != (expected[i] > 0.0F) ? 1 : 0;
      worst = std::max(worst, std::abs(probs[i] - expected[i]));
    }
    CHECK(kept == test.at("kept").get<int>());
    CHECK(other_set == 0);
    CHECK(worst <= 1e-5);
  }
}
