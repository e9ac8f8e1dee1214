// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <doctest/doctest.h>

namespace decant::test {

namespace {

constexpr int64_t kMs = 1000000;

/// A sequence with so many tokens to compute.
void add(Scheduler& scheduler, SequenceId id, int n_pending) {
  Sequence* const sequence = scheduler.free_slot();
  REQUIRE(sequence != nullptr);
  sequence->id = id;
  sequence->ids.assign(static_cast<size_t>(n_pending), 1);
}

int n_tokens_of(const StepPlan& plan, size_t entry) {
  return entry < plan.entries.size() ? plan.entries[entry].n_tokens : 0;
}

}  // namespace

TEST_CASE("scheduler: a prompt alone fills the step, however long steps take") {
  Scheduler scheduler(4, 512, 0, 4, 100 * kMs);
  add(scheduler, 1, 2000);
  scheduler.note_step(scheduler.plan(), 5000 * kMs);
  CHECK(n_tokens_of(scheduler.plan(), 0) == 512);
}

TEST_CASE("scheduler: beside sequences that decode, a prompt's chunk follows the time that steps take") {
  Scheduler scheduler(4, 512, 0, 4, 100 * kMs);
  add(scheduler, 1, 2000);
  add(scheduler, 2, 1);
  StepPlan* plan = &scheduler.plan();
  CHECK(n_tokens_of(*plan, 0) == 1);
  CHECK_MESSAGE(n_tokens_of(*plan, 1) == 511, "nothing is known yet");

  scheduler.note_step(*plan, 512 * kMs);  // a token a millisecond: 96 in query tiles of 16
  plan = &scheduler.plan();
  CHECK(plan->n_tokens() == 96);
  scheduler.note_step(*plan, plan->n_tokens() * 2 * kMs);  // deeper into the prompt each takes longer
  CHECK(scheduler.plan().n_tokens() == 48);
  scheduler.note_step(scheduler.plan(), 1000000 * kMs);
  CHECK_MESSAGE(n_tokens_of(scheduler.plan(), 1) == 16, "prompts always go on");
  scheduler.note_step(scheduler.plan(), 1);
  CHECK(scheduler.plan().n_tokens() == 512);
}

TEST_CASE("scheduler: without a target no chunk is cut") {
  Scheduler scheduler(4, 512, 0, 4, 0);
  add(scheduler, 1, 2000);
  add(scheduler, 2, 1);
  scheduler.note_step(scheduler.plan(), 1000000 * kMs);
  CHECK(scheduler.plan().n_tokens() == 512);
}

}  // namespace decant::test
