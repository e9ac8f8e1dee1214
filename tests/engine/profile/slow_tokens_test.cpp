// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "engine/profile/breakdown.h"
#include "tests/engine/profile/hand_made_step.h"

namespace decant::profile {
namespace {

constexpr int kTokens = 16;
constexpr int64_t kMs = 1000000;

/// What differs in one of the tokens.
struct Slow {
  int64_t down_of_layer_1 = 0, wait_in_up_of_layer_0 = 0, rotation = 0, schedule = 0;
  int64_t profiler = 0, detokenize = 0, callback = 0, loop = 0;
  double scale = 1.0;  ///< of everything
  int64_t page_faults = 0, major_page_faults = 0, involuntary_switches = 0;
  size_t detail_bytes = size_t{1} << 20;
  int token = 9;
};

/// A token of 7 ms on two threads, and 0.02 ms of the program; one of them is slow.
SlowToken slowest(const Slow& slow) {
  Recording recording(kTokens, slow.detail_bytes);
  recording.begin_round(0);
  std::vector<double> seconds;
  for (int i = 0; i < kTokens; ++i) {
    const bool is_slow = i == slow.token;
    const Slow by = is_slow ? slow : Slow{};
    const auto scaled = [&](double ms) { return static_cast<int64_t>(ms * by.scale * kMs); };
    HandMadeStep step(2);
    step.op(Op::schedule, -1, scaled(0.01) + by.schedule).op(Op::rotation, -1, scaled(0.09) + by.rotation);
    for (int layer = 0; layer < 2; ++layer) {
      step.op(Op::attention, layer, scaled(0.5), scaled(0.05), 4).lap(1, scaled(0.5), 4);
      step.op(Op::ffn_up, layer, scaled(1.5), scaled(0.05) + (layer == 0 ? by.wait_in_up_of_layer_0 : 0), 10)
          .lap(1, scaled(1.55) + (layer == 0 ? by.wait_in_up_of_layer_0 : 0), 10);
      step.op(Op::ffn_down, layer, scaled(0.9) + (layer == 1 ? by.down_of_layer_1 : 0), 0, 5).lap(1, scaled(0.9), 5);
    }
    step.op(Op::head, -1, scaled(0.9), 0, 6).lap(1, scaled(0.9), 6);
    StepProfile told = step.at(0);
    told.n_page_faults = by.page_faults;
    told.n_major_page_faults = by.major_page_faults;
    told.n_involuntary_switches = by.involuntary_switches;
    recording.add(told);
    recording.add_program(5000 + by.profiler, 5000 + by.detokenize, 5000 + by.callback);
    const int64_t outside = 20000 + by.profiler + by.detokenize + by.callback + by.loop;
    seconds.push_back(static_cast<double>(told.elapsed_ns + outside) * 1e-9);
  }
  const std::vector<Sample> samples = samples_of_steps(recording, seconds);
  const std::vector<SlowToken> found = slowest_tokens(recording, samples, break_down(recording, samples), 3);
  REQUIRE(found.size() == 3);
  CHECK(found[0].ms >= found[1].ms);
  CHECK(found[1].reason == "within the usual");
  return found[0];
}

TEST_CASE("slow_tokens: 2 ms in one operation are named with its layer") {
  Slow slow;
  slow.down_of_layer_1 = 2 * kMs;
  const SlowToken found = slowest(slow);
  CHECK(found.sample == 9);
  CHECK(found.ms == doctest::Approx(9.02));
  CHECK(found.excess_ms == doctest::Approx(2.0));
  CHECK(found.reason == "2.0 ms more in ffn_down of layer 1");
}

TEST_CASE("slow_tokens: an operation of no layer is named alone") {
  Slow slow;
  slow.rotation = kMs;
  CHECK(slowest(slow).reason == "1.0 ms more in rotation");
  slow.rotation = 0;
  slow.schedule = 400000;
  CHECK(slowest(slow).reason == "0.40 ms more in schedule");
}

TEST_CASE("slow_tokens: waiting is named with the thread that was last and where") {
  Slow slow;
  slow.wait_in_up_of_layer_0 = 2 * kMs;
  CHECK(slowest(slow).reason == "2.0 ms more of waiting for thread 1 in ffn_up of layer 0");
}

TEST_CASE("slow_tokens: what came after the step is named") {
  Slow slow;
  slow.callback = 3 * kMs;
  CHECK(slowest(slow).reason == "3.0 ms more in the callback");
  slow = {};
  slow.detokenize = 3 * kMs;
  CHECK(slowest(slow).reason == "3.0 ms more in detokenizing");
  slow = {};
  slow.profiler = 3 * kMs;
  CHECK(slowest(slow).reason == "3.0 ms more in the profiler");
  slow = {};
  slow.loop = 3 * kMs;
  CHECK(slowest(slow).reason == "3.0 ms more in the program's own loop");
}

TEST_CASE("slow_tokens: what the system did is named beside it") {
  Slow slow;
  slow.down_of_layer_1 = 2 * kMs;
  slow.involuntary_switches = 1;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down of layer 1; a thread lost its CPU to another program once");
  slow.involuntary_switches = 3;
  CHECK(slowest(slow).reason ==
        "2.0 ms more in ffn_down of layer 1; threads lost their CPUs to other programs 3 times");
  slow.involuntary_switches = 0;
  slow.major_page_faults = 1;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down of layer 1; 1 page had to come from the disk");
  slow.major_page_faults = 12;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down of layer 1; 12 pages had to come from the disk");
  slow.major_page_faults = 0;
  slow.page_faults = 20;  // a few are nothing
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down of layer 1");
  slow.page_faults = 700;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down of layer 1; 700 page faults");
}

TEST_CASE("slow_tokens: a step slower throughout says so, and where it lost most") {
  Slow slow;
  slow.scale = 1.25;
  CHECK(slowest(slow).reason == "25 % slower throughout, above all in ffn_up and ffn_down");
}

TEST_CASE("slow_tokens: two causes of equal weight are both named") {
  Slow slow;
  slow.callback = slow.wait_in_up_of_layer_0 = 2 * kMs;
  CHECK(slowest(slow).reason == "2.0 ms more of waiting for thread 1 in ffn_up of layer 0 and 2.0 ms in the callback");
}

TEST_CASE("slow_tokens: steps without details are explained without layer and thread") {
  Slow slow;
  slow.detail_bytes = 0;
  slow.down_of_layer_1 = 2 * kMs;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down");
  slow.down_of_layer_1 = 0;
  slow.wait_in_up_of_layer_0 = 2 * kMs;
  CHECK(slowest(slow).reason == "2.0 ms more of waiting for others");
}

TEST_CASE("slow_tokens: the only token with details may be the slowest, when no typical one's layers are known") {
  Slow slow;
  slow.detail_bytes = 1400;
  slow.token = 0;
  slow.down_of_layer_1 = 2 * kMs;
  CHECK(slowest(slow).reason == "2.0 ms more in ffn_down");
}

TEST_CASE("slow_tokens: as many as asked for, or as there are; equal ones in their order") {
  Recording recording(3, 0);
  recording.begin_round(0);
  for (int i = 0; i < 3; ++i) {
    HandMadeStep step(1);
    recording.add(step.op(Op::head, -1, 1000).at(0));
  }
  const std::vector<Sample> samples = samples_of_steps(recording, std::vector<double>{1e-6, 1e-6, 1e-6});
  const Breakdown typical = break_down(recording, samples);
  CHECK(slowest_tokens(recording, samples, typical, 0).empty());
  const std::vector<SlowToken> all = slowest_tokens(recording, samples, typical, 9);
  REQUIRE(all.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(all[i].sample == i);
    CHECK(all[i].excess_ms == doctest::Approx(0.0));
    CHECK(all[i].reason == "within the usual");
  }
}

}  // namespace
}  // namespace decant::profile
