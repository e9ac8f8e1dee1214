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
  CHECK_MESSAGE(plan->n_tokens() == 64, "nothing is known yet");

  scheduler.note_step(*plan, 64 * kMs);  // a token a millisecond: 96 in query tiles of 16
  plan = &scheduler.plan();
  CHECK(plan->n_tokens() == 96);
  scheduler.note_step(*plan, plan->n_tokens() * 2 * kMs);  // deeper into the prompt each takes longer
  CHECK(scheduler.plan().n_tokens() == 48);
  scheduler.note_step(scheduler.plan(), 1000000 * kMs);
  CHECK_MESSAGE(n_tokens_of(scheduler.plan(), 1) == 16, "prompts always go on");
  for (int i = 0; i < 100; ++i) scheduler.note_step(scheduler.plan(), 1);
  CHECK(scheduler.plan().n_tokens() == 512);
}

TEST_CASE("scheduler: several prompts beside sequences that decode take no longer than one") {
  Scheduler scheduler(8, 512, 0, 8, 100 * kMs);
  add(scheduler, 1, 1);
  for (SequenceId id = 2; id <= 6; ++id) add(scheduler, id, 2000);
  scheduler.note_step(scheduler.plan(), 64 * kMs);
  CHECK(scheduler.plan().n_tokens() == 96);
  scheduler.note_step(scheduler.plan(), 1000000 * kMs);
  const StepPlan& plan = scheduler.plan();
  CHECK(plan.entries.size() == 2);
  CHECK(plan.n_tokens() == 1 + 16);
}

TEST_CASE("scheduler: prompts of one priority are served in turn") {
  Scheduler scheduler(4, 100, 0, 4, 0);
  for (SequenceId id = 1; id <= 3; ++id) add(scheduler, id, 1000);
  const auto served = [&] { return scheduler.slot(scheduler.plan().entries.front().slot).id; };
  for (const SequenceId expected : {1, 2, 3, 1, 2, 3}) CHECK(served() == expected);
}

TEST_CASE("scheduler: prompts of higher priority come first, and nobody waits to decode") {
  Scheduler scheduler(4, 100, 0, 4, 0);
  add(scheduler, 1, 1000);
  add(scheduler, 2, 60);
  add(scheduler, 3, 1);
  scheduler.find(2)->request.priority = 1;
  for (int i = 0; i < 3; ++i) {
    const StepPlan& plan = scheduler.plan();
    REQUIRE(plan.entries.size() == 3);
    CHECK(scheduler.slot(plan.entries[0].slot).id == 3);
    CHECK(scheduler.slot(plan.entries[1].slot).id == 2);
    CHECK(plan.entries[1].n_tokens == 60);
    CHECK(plan.entries[2].n_tokens == 39);
  }
}

TEST_CASE("scheduler: a step is of sessions or of what was submitted, and of nobody whose piece waits") {
  Scheduler scheduler(4, 100, 0, 4, 0);
  for (SequenceId id = 1; id <= 3; ++id) add(scheduler, id, 1);
  scheduler.find(2)->of_session = scheduler.find(3)->of_session = true;
  CHECK(scheduler.plan().entries.size() == 1);
  CHECK(scheduler.plan({.sessions = true}).entries.size() == 2);
  CHECK(scheduler.plan({.sessions = true, .only = 3}).entries.size() == 1);
  scheduler.find(3)->waiting = Piece{};
  CHECK(scheduler.plan({.sessions = true}).entries.size() == 1);
}

TEST_CASE("scheduler: without a target no chunk is cut") {
  Scheduler scheduler(4, 512, 0, 4, 0);
  add(scheduler, 1, 2000);
  add(scheduler, 2, 1);
  scheduler.note_step(scheduler.plan(), 1000000 * kMs);
  CHECK(scheduler.plan().n_tokens() == 512);
}

}  // namespace decant::test
