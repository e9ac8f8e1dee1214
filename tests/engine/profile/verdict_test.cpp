// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/verdict.h"

#include <string>

#include <doctest/doctest.h>

namespace decant::profile {
namespace {

size_t at(Op op) { return static_cast<size_t>(op); }

std::string joined(const std::vector<std::string>& sentences) {
  std::string all;
  for (const std::string& sentence : sentences) all += (all.empty() ? "" : " ") + sentence;
  return all;
}

/// What no sentence may hold, whatever was measured.
void check_readable(const std::string& text) {
  CAPTURE(text);
  for (const char* odd : {"nan", "inf", " -", "(-", "1 threads", "1 pages", "1 thread make ", "  ", " ."})
    CHECK(text.find(odd) == std::string::npos);
  if (!text.empty()) CHECK(text.back() == '.');
}

/// llama-1b in 4 bits on a laptop: 700 MB a token, 30 GB/s, 25 ms.
RunFacts usual(int n_threads = 2) {
  RunFacts run;
  run.n_threads = n_threads;
  run.figures.ms_p50 = 25.0;
  run.figures.tokens_per_s = 40.0;
  run.figures.bytes = 700'000'000;
  run.figures.gb_per_s = 28.0;
  run.figures.bandwidth_gb_per_s = 30.0;
  run.figures.bandwidth_share = 28.0 / 30.0;
  run.breakdown.ns = run.breakdown.mean_ns = run.breakdown.quick_ns = 25e6;
  run.breakdown.work_ns[at(Op::ffn_up)] = 12e6;
  run.breakdown.bytes[at(Op::ffn_up)] = 350'000'000;
  run.breakdown.work_ns[at(Op::attention)] = 8e6;
  run.breakdown.bytes[at(Op::attention)] = 50'000'000;
  run.breakdown.work_ns[at(Op::head)] = 4e6;
  run.breakdown.bytes[at(Op::head)] = 300'000'000;
  run.breakdown.wait_ns = 1e6;
  run.breakdown.workers.resize(static_cast<size_t>(n_threads));
  run.last_level_cache = size_t{32} << 20;
  return run;
}

/// Half as fast as memory would allow.
RunFacts half_as_fast(int n_threads = 2) {
  RunFacts run = usual(n_threads);
  run.figures.ms_p50 = 50.0;
  run.figures.tokens_per_s = 20.0;
  run.figures.gb_per_s = 14.0;
  run.figures.bandwidth_share = 14.0 / 30.0;
  run.breakdown.ns = run.breakdown.mean_ns = 50e6;
  run.breakdown.quick_ns = 40e6;
  for (double& ns : run.breakdown.work_ns) ns *= 2.0;
  return run;
}

std::string text_of(const RunFacts& run, Bound bound) {
  const Verdict verdict = verdict_of(run);
  CHECK(std::string(to_string(verdict.bound)) == to_string(bound));
  const std::string text = joined(verdict.text);
  check_readable(text);
  return text;
}

TEST_CASE("verdict: a run near memory's rate is bound by memory") {
  CHECK(text_of(usual(), Bound::memory) ==
        "Memory bounds it: a token reads 700 MB, for which plain reads by 2 threads take 23.33 of its 25.00 ms. Fewer "
        "bytes would make it faster: weights of fewer bits; so would several sequences at once, which share the "
        "weights.");
  CHECK(text_of(usual(1), Bound::memory).find("plain reads by 1 thread take") != std::string::npos);
}

TEST_CASE("verdict: a run faster than plain reads isn't said to take more than its time") {
  RunFacts run = usual();
  run.figures.bandwidth_gb_per_s = 26.0;
  run.figures.bandwidth_share = 28.0 / 26.0;
  CHECK(text_of(run, Bound::memory).find("a token reads 700 MB in 25.00 ms, as fast as plain reads by 2 threads.") !=
        std::string::npos);
}

TEST_CASE("verdict: a long context is told from the weights, and what would make it cheaper") {
  RunFacts run = usual();
  run.breakdown.bytes[at(Op::attention)] = 280'000'000;
  CHECK(text_of(run, Bound::memory)
            .find("weights of fewer bits, or, since keys and values are 40 % of them, a cache of q8 or q4, or a "
                  "shorter context;") != std::string::npos);
  run.kv_is_wide = false;
  CHECK(text_of(run, Bound::memory).find("since keys and values are 40 % of them, a shorter context;") !=
        std::string::npos);
}

TEST_CASE("verdict: a model that fits into the cache isn't bound by memory") {
  RunFacts run = usual();
  run.figures.bytes = 20'000'000;
  run.breakdown.bytes = {};
  run.breakdown.bytes[at(Op::ffn_up)] = 10'000'000;
  CHECK(text_of(run, Bound::cache) ==
        "A token reads 20 MB, which fits into the processor's cache of 34 MB: memory doesn't bound it. The cores do: "
        "arithmetic, and what a layer does one after the other. ffn_up takes the most: 48 % of a token.");
}

TEST_CASE(
    "verdict: a run far below memory's rate is bound by arithmetic, and the operation furthest from it is named") {
  CHECK(text_of(half_as_fast(), Bound::arithmetic) ==
        "The cores bound it: a token takes 47 % of what memory could deliver meanwhile. Beyond what memory takes, "
        "attention costs the most: 32 % of a token, reading at 10 % of memory's rate. More threads, where there are "
        "cores for them, or a CPU with wider vectors would make it faster.");
}

TEST_CASE("verdict: threads that wait for each other are the bound") {
  RunFacts run = half_as_fast(4);
  run.breakdown.wait_ns = 15e6;
  CHECK(text_of(run, Bound::threads) ==
        "4 threads wait for each other for 30 % of a token: the pieces of this model's operations are too few or too "
        "short for that many. Fewer threads may be as fast; several sequences at once would give them more to do.");
  // Of a model within the cache, too: it is where they wait most.
  run.figures.bytes = 20'000'000;
  CHECK(verdict_of(run).bound == Bound::threads);
}

TEST_CASE("verdict: a slow thread is named, with its pace and what it costs the others") {
  RunFacts run = half_as_fast();
  run.breakdown.workers[1].pace = 0.52;
  run.breakdown.wait_ns = 10e6;
  CHECK(text_of(run, Bound::interference) ==
        "Thread 1 works at 52 % of the pace of the fastest: something else runs on its core, or the core is a slower "
        "one. 20 % of a token is waiting at barriers. Fewer threads, or cores of its own for this process (taskset, "
        "cpusets), would change that.");
  run.breakdown.wait_ns = 0.0;
  run.breakdown.n_involuntary_switches = 2.5;
  CHECK(text_of(run, Bound::interference) ==
        "Thread 1 works at 52 % of the pace of the fastest: something else runs on its core, or the core is a slower "
        "one. Threads lost their CPUs to other programs 2.5 times a token. Fewer threads, or cores of its own for this "
        "process (taskset, cpusets), would change that.");
  // A slow thread that costs nothing is none.
  run.breakdown.n_involuntary_switches = 0.0;
  CHECK(verdict_of(run).bound == Bound::arithmetic);
}

TEST_CASE("verdict: the calling thread, which also wakes the others, may be somewhat slower than they") {
  RunFacts run = half_as_fast();
  run.breakdown.wait_ns = 10e6;
  run.breakdown.workers[0].pace = 0.75;
  CHECK(verdict_of(run).bound == Bound::threads);
  run.breakdown.workers[0].pace = 0.5;
  CHECK(text_of(run, Bound::interference).find("Thread 0 works at 50 % of the pace of the fastest") == 0);
}

TEST_CASE("verdict: a thread that comes late to most operations is named") {
  RunFacts run = half_as_fast(3);
  run.breakdown.workers[0].n_pieces = 1200.0;
  run.breakdown.workers[1].n_pieces = 84.0;
  run.breakdown.workers[2].n_pieces = 900.0;
  CHECK(text_of(run, Bound::interference) ==
        "Thread 1 does 7 % of the pieces that the busiest does: it comes late to most operations, since its core is "
        "busy with something else or slow to wake. Fewer threads, or cores of its own for this process (taskset, "
        "cpusets), would change that.");
  run.figures.bandwidth_share = 0.9;
  CHECK(verdict_of(run).bound == Bound::memory);
  run.figures.bytes = 20'000'000;
  CHECK(verdict_of(run).bound == Bound::cache);
}

TEST_CASE("verdict: threads that keep losing their CPUs are disturbed, all alike") {
  RunFacts run = half_as_fast();
  run.breakdown.n_involuntary_switches = 1.6;
  CHECK(text_of(run, Bound::interference).find("Threads lost their CPUs to other programs 1.6 times a token.") == 0);
  RunFacts alone = half_as_fast(1);
  alone.breakdown.n_involuntary_switches = 1.6;
  CHECK(text_of(alone, Bound::interference)
            .find("The thread lost its CPU to other programs 1.6 times a token. A CPU of its own") == 0);
}

TEST_CASE("verdict: switches don't matter where tokens come at memory's rate all the same") {
  RunFacts run = usual();
  run.breakdown.n_involuntary_switches = 1.6;
  CHECK(verdict_of(run).bound == Bound::memory);
}

TEST_CASE("verdict: some switches in a token of half a second are nothing") {
  RunFacts run = half_as_fast();
  run.breakdown.ns = run.breakdown.mean_ns = run.breakdown.quick_ns = 500e6;
  run.breakdown.n_involuntary_switches = 2.0;
  CHECK(verdict_of(run).bound != Bound::interference);
  run.breakdown.n_involuntary_switches = 20.0;
  run.breakdown.mean_ns = 600e6;
  CHECK(verdict_of(run).bound == Bound::interference);
}

TEST_CASE("verdict: more threads than CPUs are told of before anything else") {
  RunFacts run = half_as_fast(8);
  run.n_cpus = 2;
  CHECK(text_of(run, Bound::threads) ==
        "8 threads share 2 CPUs: they keep each other waiting. 2 threads would be faster.");
  run.n_cpus = 8;
  CHECK(verdict_of(run).bound == Bound::arithmetic);
}

TEST_CASE("verdict: a model that doesn't stay in memory is bound by the disk") {
  RunFacts run = half_as_fast();
  run.breakdown.n_major_page_faults = 250.0;
  CHECK(text_of(run, Bound::faults) ==
        "250.0 pages a token come from the disk: the model doesn't stay in memory. A smaller model, a smaller cache or "
        "more memory would change that.");
  // Rows of the embedding that come up for the first time are another matter.
  run.breakdown.n_major_page_faults = 1.0;
  CHECK(verdict_of(run).bound == Bound::arithmetic);
}

TEST_CASE("verdict: figures that are zero or unknown give no odd sentence") {
  text_of(RunFacts{}, Bound::arithmetic);
  RunFacts run = usual();
  run.figures.bandwidth_gb_per_s = run.figures.bandwidth_share = 0.0;
  CHECK(text_of(run, Bound::arithmetic).find("memory") == std::string::npos);
  run.last_level_cache = size_t{1} << 40;
  text_of(run, Bound::cache);
  run = usual();
  run.breakdown = {};
  text_of(run, Bound::memory);
  run = half_as_fast();
  run.breakdown = {};
  text_of(run, Bound::arithmetic);
  run.last_level_cache = size_t{1} << 40;
  text_of(run, Bound::cache);
}

TEST_CASE("decode_figures: of nothing, or without a bandwidth, are finite") {
  const DecodeFigures nothing = decode_figures({}, 1000);
  CHECK(nothing.tokens_per_s == 0.0);
  CHECK(nothing.gb_per_s == 0.0);
  CHECK(nothing.bandwidth_share == 0.0);
  Timings timings;
  timings.seconds = {0.001};
  timings.bandwidth = {0.0};
  const DecodeFigures unknown = decode_figures(timings, 1000);
  CHECK(unknown.tokens_per_s == doctest::Approx(1000.0));
  CHECK(unknown.bandwidth_share == 0.0);
}

LoadFacts warm() { return {0.4, 700'000'000, 1.0, 0}; }

std::string overall(const LoadFacts& load, const std::vector<RunFacts>& runs) {
  const std::vector<std::string> text = overall_verdict(load, runs);
  for (const std::string& sentence : text) check_readable(sentence);
  return joined(text);
}

TEST_CASE("overall_verdict: says nothing of one run of a warm model") {
  CHECK(overall(warm(), {}).empty());
  CHECK(overall(warm(), {usual()}).empty());
}

TEST_CASE("overall_verdict: a cold model is named, with what is known of it") {
  LoadFacts load = warm();
  load.seconds = 3.2;
  load.cached_share = 0.2;
  load.disk_bytes = 560'000'000;
  CHECK(overall(load, {}) ==
        "The model was cold: 20 % of its file lay in the page cache, and 560 MB came from the disk; opening it took "
        "3.20 s. It is faster the next time.");
  load.cached_share.reset();
  CHECK(overall(load, {}) ==
        "The model was cold: 560 MB came from the disk; opening it took 3.20 s. It is faster the next time.");
  load.disk_bytes = 0;
  load.cached_share = 0.0;  // a file system that isn't counted
  CHECK(overall(load, {}) ==
        "The model was cold: 0 % of its file lay in the page cache; opening it took 3.20 s. It is faster the next "
        "time.");
  load.cached_share.reset();
  CHECK(overall(load, {}).empty());
}

TEST_CASE("overall_verdict: compares thread counts with the first") {
  RunFacts one = usual(1), two = usual(2);
  one.figures.tokens_per_s = 25.0;
  one.figures.bandwidth_gb_per_s = 20.0;
  CHECK(overall(warm(), {one, two}) ==
        "At depth 0, 2 threads make 1.60 times the tokens of one; plain reads are 1.50 times as fast.");
  CHECK(overall(warm(), {two, one}) ==
        "At depth 0, 1 thread makes 0.62 times the tokens of 2; plain reads are 0.67 times as fast.");
  one.figures.bandwidth_gb_per_s = 0.0;
  CHECK(overall(warm(), {one, two}) == "At depth 0, 2 threads make 1.60 times the tokens of one.");
  one.figures.tokens_per_s = 0.0;
  CHECK(overall(warm(), {one, two}).empty());
}

TEST_CASE("overall_verdict: tells what context costs, beside what memory would take") {
  RunFacts shallow = usual(), deep = usual();
  deep.depth = 4000;
  deep.figures.ms_p50 = 29.0;
  deep.figures.bytes = 760'000'000;
  const char* const expected =
      "With 2 threads, a thousand tokens of context cost 1.000 ms a token; memory alone would take 0.500 ms for their "
      "15 MB.";
  CHECK(overall(warm(), {shallow, deep}) == expected);
  CHECK(overall(warm(), {deep, shallow}) == expected);
  RunFacts middle = deep;
  middle.depth = 1000;
  CHECK(overall(warm(), {shallow, middle, deep}) == expected);

  SUBCASE("a bandwidth of 0 is no rate") {
    deep.figures.bandwidth_gb_per_s = 0.0;
    CHECK(overall(warm(), {shallow, deep}) == "With 2 threads, a thousand tokens of context cost 1.000 ms a token.");
  }
  SUBCASE("windows read no more bytes") {
    deep.figures.bytes = shallow.figures.bytes;
    CHECK(overall(warm(), {shallow, deep}) == "With 2 threads, a thousand tokens of context cost 1.000 ms a token.");
    deep.figures.bytes = shallow.figures.bytes - 1000;
    CHECK(overall(warm(), {shallow, deep}) == "With 2 threads, a thousand tokens of context cost 1.000 ms a token.");
  }
  SUBCASE("noise that makes the deeper one faster is no gain") {
    deep.figures.ms_p50 = 24.9;
    CHECK(overall(warm(), {shallow, deep}) == "With 2 threads, context costs nothing that could be measured.");
  }
}

TEST_CASE("overall_verdict: several thread counts with several depths have a sentence each") {
  std::vector<RunFacts> runs;
  for (const int n_threads : {1, 2, 4})
    for (const int depth : {0, 2000}) {
      RunFacts run = usual(n_threads);
      run.depth = depth;
      run.figures.ms_p50 = 25.0 + depth / 1000.0;
      run.figures.bytes += static_cast<size_t>(depth) * 15000;
      runs.push_back(run);
    }
  const std::vector<std::string> text = overall_verdict(warm(), runs);
  REQUIRE(text.size() == 5);
  CHECK(text[0].find("At depth 0, 2 threads make") == 0);
  CHECK(text[1].find("At depth 0, 4 threads make") == 0);
  CHECK(text[2].find("With 1 thread, ") == 0);
  CHECK(text[3].find("With 2 threads, ") == 0);
  CHECK(text[4].find("With 4 threads, ") == 0);
}

}  // namespace
}  // namespace decant::profile
