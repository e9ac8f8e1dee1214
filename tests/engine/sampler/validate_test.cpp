// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "engine/sampler/sampler.h"

using decant::SamplingParams;
using decant::sampler::validate;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct FloatLimits {
  const char* name;
  float SamplingParams::*field;
  std::vector<float> good, bad;
};

}  // namespace

TEST_CASE("validate: defaults and greedy are fine") {
  SamplingParams params;
  CHECK(validate(params).ok());
  params.temperature = 0.0F;
  CHECK(validate(params).ok());
}

TEST_CASE("validate: a parameter outside its limits is refused by name") {
  const float least = std::numeric_limits<float>::denorm_min();
  const float above_1 = std::nextafter(1.0F, 2.0F);
  const float below_1 = std::nextafter(1.0F, 0.0F);
  const std::vector<FloatLimits> limits = {
      {"temperature", &SamplingParams::temperature, {-0.0F, least, 1e30F}, {-least, kInf, -1.0F}},
      {"top_p", &SamplingParams::top_p, {least, 1.0F}, {0.0F, -0.5F, above_1, kInf}},
      {"min_p", &SamplingParams::min_p, {0.0F, 1.0F}, {-least, above_1, kInf}},
      {"typical_p", &SamplingParams::typical_p, {least, 1.0F}, {0.0F, -0.5F, above_1, kInf}},
      {"epsilon_cutoff", &SamplingParams::epsilon_cutoff, {0.0F, below_1}, {-least, 1.0F, kInf}},
      {"eta_cutoff", &SamplingParams::eta_cutoff, {0.0F, below_1}, {-least, 1.0F, kInf}},
      {"repetition_penalty", &SamplingParams::repetition_penalty, {least, 1.0F, 1e30F}, {0.0F, -1.0F, kInf}},
  };
  for (const FloatLimits& limit : limits) {
    CAPTURE(limit.name);
    for (const float value : limit.good) {
      SamplingParams params;
      params.*limit.field = value;
      CHECK(validate(params).ok());
    }
    std::vector<float> bad = limit.bad;
    bad.insert(bad.end(), {kNan, -kNan, -kInf});
    for (const float value : bad) {
      SamplingParams params;
      params.*limit.field = value;
      const decant::Status status = validate(params);
      CAPTURE(value);
      REQUIRE_FALSE(status.ok());
      CHECK(status.error().code == decant::ErrorCode::invalid_argument);
      CHECK(status.error().message.starts_with(limit.name));
    }
  }
  for (int SamplingParams::*field : {&SamplingParams::top_k, &SamplingParams::no_repeat_ngram_size}) {
    SamplingParams params;
    params.*field = std::numeric_limits<int>::max();
    CHECK(validate(params).ok());
    params.*field = -1;
    CHECK(validate(params).error().code == decant::ErrorCode::invalid_argument);
  }
}
