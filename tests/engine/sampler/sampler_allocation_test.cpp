// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <doctest/doctest.h>

#include "engine/sampler/rng.h"
#include "engine/sampler/sampler.h"
#include "tests/support/failing_new.h"

TEST_CASE("sampler: a pick allocates nothing") {
  const int vocab = 5000;
  std::vector<float> logits(vocab);
  for (int i = 0; i < vocab; ++i)
    logits[static_cast<size_t>(i)] = static_cast<float>(8.0 * decant::sampler::uniform(1, i, 0));
  std::vector<int32_t> history(10000);
  for (size_t i = 0; i < history.size(); ++i) history[i] = static_cast<int32_t>(i % 7);
  std::vector<double> probs(vocab);
  decant::SamplingParams plain, greedy, all;
  greedy.temperature = 0.0F;
  all.temperature = 0.7F;
  all.top_k = 3000;
  all.top_p = 0.99F;
  all.min_p = 0.001F;
  all.typical_p = 0.95F;
  all.epsilon_cutoff = 1e-5F;
  all.eta_cutoff = 1e-5F;
  all.repetition_penalty = 1.1F;
  all.no_repeat_ngram_size = 3;
  decant::sampler::Sampler sampler(vocab);

  const int64_t before = decant::test::n_allocations();
  bool ok = true;
  for (const auto* params : {&plain, &greedy, &all})
    for (int64_t pos = 0; pos < 10; ++pos) {
      ok = ok && sampler.pick(logits, *params, history, pos).ok();
      ok = ok && sampler.probabilities(logits, *params, history, probs).ok();
    }
  const int64_t after = decant::test::n_allocations();
  CHECK(ok);
  CHECK(before > 0);
  CHECK(after == before);
}
