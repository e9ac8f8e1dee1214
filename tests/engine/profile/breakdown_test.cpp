// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/breakdown.h"

#include <numeric>

#include <doctest/doctest.h>

#include "tests/engine/profile/hand_made_step.h"

namespace decant::profile {
namespace {

constexpr size_t kPlenty = size_t{1} << 20;

size_t at(Op op) { return static_cast<size_t>(op); }

/// A token of two layers: `scale` times 1000 ns of work, 100 of them the schedule, and 200 of waiting.
HandMadeStep token(int64_t scale, int n_threads = 1) {
  HandMadeStep step(n_threads);
  step.op(Op::schedule, -1, 100 * scale);
  step.op(Op::ffn_up, 0, 300 * scale, 150 * scale, 4, 40).op(Op::ffn_up, 1, 200 * scale, 50 * scale, 4, 40);
  step.op(Op::ffn_down, 0, 100 * scale, 0, 2, 20).op(Op::ffn_down, 1, 200 * scale, 0, 2, 20);
  step.op(Op::head, -1, 100 * scale, 0, 1, 500);
  return step;
}

TEST_CASE("breakdown: a typical token is the mean of the middle half by time, and its parts add up to it") {
  Recording recording(8, kPlenty);
  recording.begin_round(0);
  std::vector<double> seconds;
  // By time: 1 2 | 3 4 5 6 | 50 60, in an order of their own.
  for (const int64_t scale : {50, 3, 1, 6, 4, 60, 2, 5}) {
    HandMadeStep step = token(scale);
    recording.add(step.at(0));
    recording.add_program(scale, 2 * scale, 7 * scale);
    seconds.push_back(1220e-9 * static_cast<double>(scale));  // 10 · scale that nobody has named
  }
  const std::vector<Sample> samples = samples_of_steps(recording, seconds);
  REQUIRE(samples.size() == 8);
  CHECK(samples[1].first_step == 1);
  CHECK(samples[1].ns == doctest::Approx(3660.0));
  const Breakdown b = break_down(recording, samples);
  const double scale = 4.5;
  CHECK(b.ns == doctest::Approx(1220.0 * scale));
  CHECK(b.work_ns[at(Op::schedule)] == doctest::Approx(100.0 * scale));
  CHECK(b.work_ns[at(Op::ffn_up)] == doctest::Approx(500.0 * scale));
  CHECK(b.work_ns[at(Op::ffn_down)] == doctest::Approx(300.0 * scale));
  CHECK(b.work_ns[at(Op::head)] == doctest::Approx(100.0 * scale));
  CHECK(b.wait_ns == doctest::Approx(200.0 * scale));
  CHECK(b.profiler_ns == doctest::Approx(scale));
  CHECK(b.detokenize_ns == doctest::Approx(2.0 * scale));
  CHECK(b.callback_ns == doctest::Approx(7.0 * scale));
  const double named = std::accumulate(b.work_ns.begin(), b.work_ns.end(), 0.0) + b.wait_ns + b.profiler_ns +
                       b.detokenize_ns + b.callback_ns;
  CHECK(named == doctest::Approx(1210.0 * scale));
  CHECK(b.bytes[at(Op::ffn_up)] == 80);
  CHECK(b.total_bytes() == 620);

  REQUIRE(b.layer_work_ns.size() == 2);
  CHECK(b.layer_work_ns[0][at(Op::ffn_up)] == doctest::Approx(300.0 * scale));
  CHECK(b.layer_work_ns[1][at(Op::ffn_up)] == doctest::Approx(200.0 * scale));
  CHECK(b.layer_work_ns[0][at(Op::ffn_down)] == doctest::Approx(100.0 * scale));
  CHECK(b.layer_work_ns[1][at(Op::ffn_down)] == doctest::Approx(200.0 * scale));
  CHECK(b.layer_work_ns[0][at(Op::head)] == 0.0);
  CHECK(samples[b.middle].ns == doctest::Approx(5.0 * 1220.0));

  REQUIRE(b.workers.size() == 1);
  CHECK(b.workers[0].busy_ns == doctest::Approx(1000.0 * scale));
  CHECK(b.workers[0].wait_ns == doctest::Approx(200.0 * scale));
  CHECK(b.workers[0].n_pieces == doctest::Approx(13.0));
  CHECK(b.workers[0].pace == 1.0);
}

TEST_CASE("breakdown: fewer than four tokens are all in the middle") {
  for (const int n : {1, 2, 3}) {
    CAPTURE(n);
    Recording recording(3, kPlenty);
    recording.begin_round(0);
    std::vector<double> seconds;
    for (int i = 1; i <= n; ++i) {
      HandMadeStep step = token(i);
      recording.add(step.at(0));
      seconds.push_back(1e-6 * i);
    }
    const Breakdown b = break_down(recording, samples_of_steps(recording, seconds));
    CHECK(b.ns == doctest::Approx(1000.0 * (n + 1) / 2));
    CHECK(b.work_ns[at(Op::head)] == doctest::Approx(100.0 * (n + 1) / 2));
  }
}

TEST_CASE("breakdown: of nothing is nothing") {
  const Recording recording(1, kPlenty);
  CHECK(samples_of_steps(recording, std::vector<double>{1.0}).empty());
  CHECK(samples_of_rounds(recording, std::vector<double>{1.0}).empty());
  const Breakdown b = break_down(recording, {});
  CHECK(b.ns == 0.0);
  CHECK(b.total_bytes() == 0);
  CHECK(slowest_tokens(recording, {}, b, 5).empty());
}

TEST_CASE("breakdown: tokens that took no time at all give finite figures") {
  Recording recording(2, kPlenty);
  recording.begin_round(0);
  HandMadeStep step(2);
  step.op(Op::schedule, -1, 0).op(Op::ffn_up, 0, 0, 0, 1).lap(1, 0, 1);
  recording.add(step.at(0));
  recording.add(step.at(0));
  const std::vector<Sample> samples = samples_of_steps(recording, std::vector<double>{0.0, 0.0});
  const Breakdown b = break_down(recording, samples);
  CHECK(b.ns == 0.0);
  CHECK(b.workers[0].pace == 1.0);
  CHECK(b.workers[1].pace == 1.0);
  for (const SlowToken& slow : slowest_tokens(recording, samples, b, 5)) CHECK(slow.reason == "within the usual");
}

TEST_CASE("breakdown: a thread that does half as much in its time has half the pace") {
  Recording recording(2, kPlenty);
  recording.begin_round(0);
  HandMadeStep step(3);
  step.op(Op::schedule, -1, 5000);
  // A piece takes 100 ns on threads 0 and 1, 200 on thread 2; and ten times as much of another operation.
  step.op(Op::ffn_up, 0, 600, 0, 6).lap(1, 600, 6).lap(2, 600, 3);
  step.op(Op::ffn_down, 0, 6000, 0, 6).lap(1, 2000, 2).lap(2, 6000, 3);
  step.op(Op::head, -1, 90000, 0, 1);  // nobody to compare with
  recording.add(step.at(0));
  recording.add(step.at(0));
  const Breakdown b = break_down(recording, samples_of_steps(recording, std::vector<double>{1e-4, 1e-4}));
  REQUIRE(b.workers.size() == 3);
  CHECK(b.workers[0].pace == doctest::Approx(1.0).epsilon(0.02));
  CHECK(b.workers[1].pace == doctest::Approx(1.0).epsilon(0.02));
  CHECK(b.workers[2].pace == doctest::Approx(0.5).epsilon(0.02));
  CHECK(b.workers[2].n_pieces == doctest::Approx(6.0));
  CHECK(b.workers[2].busy_ns == doctest::Approx(6600.0));
  CHECK(b.workers[2].wait_ns == doctest::Approx(101600.0 - 6600.0));
}

TEST_CASE("breakdown: the pace of a thread that shared no operation is unknown, which counts as full") {
  Recording recording(1, kPlenty);
  recording.begin_round(0);
  HandMadeStep step(3);
  step.op(Op::ffn_up, 0, 600, 0, 6).lap(1, 600, 3);
  step.op(Op::ffn_down, 0, 600, 0, 6);
  recording.add(step.at(0));
  const Breakdown b = break_down(recording, samples_of_steps(recording, std::vector<double>{1e-6}));
  CHECK(b.workers[0].pace == 1.0);
  CHECK(b.workers[1].pace == doctest::Approx(0.5));
  CHECK(b.workers[2].pace == 1.0);
  CHECK(b.workers[2].n_pieces == 0.0);
  CHECK(b.workers[2].wait_ns == doctest::Approx(1200.0));
}

TEST_CASE("breakdown: a prompt is all steps of its round") {
  Recording recording(6, kPlenty);
  std::vector<double> seconds;
  for (const int64_t round : {0, 1}) {
    recording.begin_round(static_cast<int>(round));
    for (const int64_t scale : {10, 20, 30}) {
      HandMadeStep step = token(scale + round);
      recording.add(step.at(0));
      recording.add_program(1, 2, 3);
    }
    recording.end_round();
    seconds.push_back(1200e-9 * static_cast<double>(60 + 3 * round) + 100e-9);
  }
  const std::vector<Sample> samples = samples_of_rounds(recording, seconds);
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].first_step == 0);
  CHECK(samples[0].n_steps == 3);
  CHECK(samples[1].first_step == 3);
  CHECK(samples[1].n_steps == 3);
  const Breakdown second = break_down(recording, std::span(samples).last(1));
  CHECK(second.ns == doctest::Approx(1200.0 * 63 + 100.0));
  CHECK(second.work_ns[at(Op::ffn_up)] == doctest::Approx(500.0 * 63));
  CHECK(second.wait_ns == doctest::Approx(200.0 * 63));
  CHECK(second.callback_ns == doctest::Approx(9.0));
  CHECK(second.bytes[at(Op::head)] == 1500);
  CHECK(second.layer_work_ns[1][at(Op::ffn_down)] == doctest::Approx(200.0 * 63));
  CHECK(second.workers[0].n_pieces == doctest::Approx(3 * 13.0));
  CHECK(second.middle == 0);
}

TEST_CASE("breakdown: a round without steps doesn't shift the seconds of the others") {
  Recording recording(3, kPlenty);
  for (const int round : {0, 1, 2}) {
    recording.begin_round(round);
    if (round == 1) continue;
    HandMadeStep step = token(1);
    recording.add(step.at(0));
  }
  const std::vector<Sample> samples = samples_of_rounds(recording, std::vector<double>{1e-6, 2e-6, 3e-6});
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].ns == doctest::Approx(1000.0));
  CHECK(samples[1].ns == doctest::Approx(3000.0));
  CHECK(samples_of_rounds(recording, std::vector<double>{1e-6}).size() == 1);
  CHECK(samples_of_steps(recording, std::vector<double>{1e-6}).size() == 1);
}

TEST_CASE("breakdown: rare events are means over all tokens, the slow ones too") {
  Recording recording(8, kPlenty);
  recording.begin_round(0);
  std::vector<double> seconds;
  for (int i = 0; i < 8; ++i) {
    HandMadeStep step = token(1);
    StepProfile told = step.at(0);
    if (i == 7) {
      told.n_page_faults = 80;
      told.n_major_page_faults = 16;
      told.n_context_switches = 8;
      told.n_involuntary_switches = 4;
    }
    recording.add(told);
    seconds.push_back(i == 7 ? 1e-3 : 1e-6);
  }
  const Breakdown b = break_down(recording, samples_of_steps(recording, seconds));
  CHECK(b.ns == doctest::Approx(1000.0));
  CHECK(b.n_page_faults == 10.0);
  CHECK(b.n_major_page_faults == 2.0);
  CHECK(b.n_context_switches == 1.0);
  CHECK(b.n_involuntary_switches == 0.5);
}

TEST_CASE("breakdown: layers and the middle are of tokens whose details were kept, the sums of all") {
  HandMadeStep step = token(1);
  Recording recording(16, 4 * step.at(0).ops.size() * (sizeof(OpProfile) + 2 * sizeof(LapProfile)));
  recording.begin_round(0);
  std::vector<double> seconds;
  for (int i = 0; i < 16; ++i) {
    recording.add(step.at(0));
    seconds.push_back(1e-6 * (100 + i));
  }
  const std::vector<Sample> samples = samples_of_steps(recording, seconds);
  const Breakdown b = break_down(recording, samples);
  CHECK(!recording.ops(recording.steps()[b.middle]).empty());
  CHECK(recording.ops(recording.steps()[15]).empty());
  CHECK(b.work_ns[at(Op::ffn_up)] == doctest::Approx(500.0));

  Recording plain(16, 0);
  plain.begin_round(0);
  for (int i = 0; i < 16; ++i) plain.add(step.at(0));
  const Breakdown without = break_down(plain, samples_of_steps(plain, seconds));
  CHECK(without.layer_work_ns.empty());
  CHECK(without.work_ns[at(Op::ffn_up)] == doctest::Approx(500.0));
  CHECK(without.middle == 8);
}

}  // namespace
}  // namespace decant::profile
