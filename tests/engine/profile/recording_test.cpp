// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/recording.h"

#include <doctest/doctest.h>

#include "tests/engine/profile/hand_made_step.h"

namespace decant::profile {
namespace {

constexpr size_t kPlenty = size_t{1} << 20;

size_t at(Op op) { return static_cast<size_t>(op); }

/// Two layers of one operation: 5000 ns on the caller, 600 of them waiting.
HandMadeStep two_layers(int n_threads = 1) {
  HandMadeStep step(n_threads);
  step.op(Op::schedule, -1, 100).op(Op::qkv, 0, 1000, 200, 3, 64).op(Op::qkv, 1, 2000, 400, 5, 64);
  step.op(Op::head, -1, 1300, 0, 2, 512);
  return step;
}

TEST_CASE("recording: keeps the caller's work, its waiting and the bytes of each operation, all layers together") {
  Recording recording(1, kPlenty);
  recording.begin_round(3);
  HandMadeStep step = two_layers();
  recording.add(step.at(7000));
  REQUIRE(recording.steps().size() == 1);
  const RecordedStep& kept = recording.steps()[0];
  CHECK(kept.round == 3);
  CHECK(kept.begin_ns == 7000);
  CHECK(kept.elapsed_ns == 5000);
  CHECK(recording.end_ns() == 12000);
  CHECK(kept.work_ns[at(Op::schedule)] == 100);
  CHECK(kept.work_ns[at(Op::qkv)] == 3000);
  CHECK(kept.work_ns[at(Op::head)] == 1300);
  CHECK(kept.work_ns[at(Op::sample)] == 0);
  CHECK(kept.wait_ns == 600);
  CHECK(kept.bytes[at(Op::qkv)] == 128);
  CHECK(kept.bytes[at(Op::head)] == 512);
}

TEST_CASE("recording: keeps operations and laps as they were told, and what each thread did in all") {
  Recording recording(2, kPlenty);
  recording.begin_round(0);
  HandMadeStep step(2);
  step.op(Op::schedule, -1, 100).op(Op::qkv, 0, 1000, 200, 3).lap(1, 1200, 4).op(Op::attention, 0, 50);
  recording.add(step.at(0));
  recording.add(step.at(2000));
  CHECK(recording.n_threads() == 2);
  for (const RecordedStep& kept : recording.steps()) {
    CAPTURE(kept.begin_ns);
    REQUIRE(recording.ops(kept).size() == 3);
    CHECK(recording.ops(kept)[1].op == Op::qkv);
    CHECK(recording.ops(kept)[1].begin_ns == 100);
    CHECK(recording.ops(kept)[1].end_ns == 1300);
    const auto threads = recording.threads(kept);
    REQUIRE(threads.size() == 2);
    CHECK(threads[0].busy_ns == 1150);
    CHECK(threads[1].busy_ns == 1200);
    CHECK(recording.laps(threads[0]).size() == 3);
    REQUIRE(recording.laps(threads[1]).size() == 1);
    CHECK(recording.laps(threads[1])[0].op == 1);
    CHECK(recording.laps(threads[1])[0].n_pieces == 4);
  }
  // Pieces are what threads share; what the caller does alone isn't among them.
  CHECK(recording.work()[0][at(Op::qkv)].n_pieces == 6);
  CHECK(recording.work()[0][at(Op::qkv)].busy_ns == 2000);
  CHECK(recording.work()[1][at(Op::qkv)].n_pieces == 8);
  CHECK(recording.work()[1][at(Op::qkv)].busy_ns == 2400);
  CHECK(recording.work()[0][at(Op::attention)].busy_ns == 0);
}

TEST_CASE("recording: steps before a round and after its end are not kept, nor what a program did then") {
  Recording recording(4, kPlenty);
  CHECK(recording.end_ns() == 0);
  HandMadeStep step = two_layers();
  recording.add(step.at(0));
  recording.add_program(1, 2, 3);
  CHECK(recording.steps().empty());
  CHECK(recording.end_ns() == 0);
  recording.begin_round(0);
  recording.add(step.at(10000));
  recording.add_program(10, 20, 30);
  recording.end_round();
  recording.add(step.at(20000));
  recording.add_program(100, 200, 300);
  recording.begin_round(1);
  recording.add(step.at(30000));
  REQUIRE(recording.steps().size() == 2);
  CHECK(recording.steps()[0].profiler_ns == 10);
  CHECK(recording.steps()[0].detokenize_ns == 20);
  CHECK(recording.steps()[0].callback_ns == 30);
  CHECK(recording.steps()[1].round == 1);
  CHECK(recording.steps()[1].begin_ns == 30000);
  CHECK(recording.steps()[1].callback_ns == 0);
}

TEST_CASE("recording: what the process went through before a round is not its first step's") {
  Recording recording(4, kPlenty);
  HandMadeStep step = two_layers();
  StepProfile told = step.at(0);
  told.n_page_faults = 1000;
  told.n_major_page_faults = 100;
  told.n_context_switches = 10;
  told.n_involuntary_switches = 1;
  for (const int round : {0, 1}) {
    recording.begin_round(round);
    recording.add(told);
    recording.add(told);
    recording.end_round();
  }
  REQUIRE(recording.steps().size() == 4);
  for (const size_t i : {0, 2}) {
    CHECK(recording.steps()[i].n_page_faults == 0);
    CHECK(recording.steps()[i].n_major_page_faults == 0);
    CHECK(recording.steps()[i].n_context_switches == 0);
    CHECK(recording.steps()[i].n_involuntary_switches == 0);
  }
  for (const size_t i : {1, 3}) {
    CHECK(recording.steps()[i].n_page_faults == 1000);
    CHECK(recording.steps()[i].n_major_page_faults == 100);
    CHECK(recording.steps()[i].n_context_switches == 10);
    CHECK(recording.steps()[i].n_involuntary_switches == 1);
  }
}

TEST_CASE("recording: steps that would exceed the memory for details go without, their sums are kept") {
  HandMadeStep step = two_layers(2);
  Recording recording(40, 4096);
  recording.begin_round(0);
  for (int i = 0; i < 40; ++i) recording.add(step.at(i * 6000));
  REQUIRE(recording.steps().size() == 40);
  const auto detailed = [&](size_t i) { return !recording.ops(recording.steps()[i]).empty(); };
  CHECK(detailed(0));
  CHECK(!detailed(39));
  size_t n_bytes = 0;
  for (const RecordedStep& kept : recording.steps()) {
    CHECK(kept.work_ns[at(Op::qkv)] == 3000);
    CHECK(recording.threads(kept).size() == 2);
    CHECK(recording.threads(kept)[0].busy_ns == 4400);
    n_bytes += recording.ops(kept).size_bytes();
    for (const RecordedThread& thread : recording.threads(kept)) {
      n_bytes += recording.laps(thread).size_bytes();
      if (kept.n_ops == 0) CHECK(recording.laps(thread).empty());
    }
  }
  CHECK(n_bytes <= 4096);
  CHECK(recording.work()[0][at(Op::qkv)].n_pieces == 40 * 8);
}

TEST_CASE("recording: with no memory for details at all every step goes without") {
  HandMadeStep step = two_layers();
  Recording recording(2, 0);
  recording.begin_round(0);
  recording.add(step.at(0));
  recording.add(step.at(9000));
  REQUIRE(recording.steps().size() == 2);
  for (const RecordedStep& kept : recording.steps()) CHECK(recording.ops(kept).empty());
}

TEST_CASE("recording: a prompt's last step, which has logits, is kept as fully as the chunks before it") {
  Recording recording(6, kPlenty);
  for (const int round : {0, 1}) {
    recording.begin_round(round);
    for (const bool last : {false, false, true}) {
      HandMadeStep step(1);
      step.op(Op::schedule, -1, 10).op(Op::qkv, 0, 500, 0, 4);
      if (last) step.op(Op::output_norm, -1, 20).op(Op::head, -1, 300, 0, 2);
      recording.add(step.at(0));
    }
  }
  REQUIRE(recording.steps().size() == 6);
  for (size_t i = 0; i < 6; ++i) CHECK(recording.ops(recording.steps()[i]).size() == (i % 3 == 2 ? 4 : 2));
}

TEST_CASE("recording: a first step in which other threads came too late leaves room for the laps of the next") {
  constexpr int kSteps = 20, kThreads = 4;
  Recording recording(kSteps, kPlenty);
  recording.begin_round(0);
  for (int i = 0; i < kSteps; ++i) {
    HandMadeStep step(kThreads);
    for (int layer = 0; layer < 4; ++layer) {
      step.op(Op::qkv, layer, 1000, 0, 8);
      for (int thread = 1; i > 0 && thread < kThreads; ++thread) step.lap(thread, 900, 8);
    }
    recording.add(step.at(i * 5000));
  }
  for (const RecordedStep& kept : recording.steps()) CHECK(recording.ops(kept).size() == 4);
}

TEST_CASE("recording: the expected steps come without any of what was kept moving") {
  HandMadeStep step = two_layers(2);
  Recording recording(100, kPlenty);
  recording.add(step.at(0));
  recording.begin_round(0);
  recording.add(step.at(0));
  const RecordedStep* const first = recording.steps().data();
  const OpProfile* const ops = recording.ops(*first).data();
  const RecordedThread* const threads = recording.threads(*first).data();
  for (int i = 1; i < 100; ++i) recording.add(step.at(i * 6000));
  CHECK(recording.steps().data() == first);
  CHECK(recording.ops(*first).data() == ops);
  CHECK(recording.threads(*first).data() == threads);
  recording.add(step.at(600000));
  CHECK(recording.steps().size() == 101);
}

}  // namespace
}  // namespace decant::profile
