// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/child.h"

using namespace decant::test;
using Json = nlohmann::json;

namespace {

Json json_of(const Words& words, const Start& start = {}) {
  const Finished result = run_decant(words, start);
  CAPTURE(result.err);
  REQUIRE(result.status == 0);
  CHECK(result.err.empty());
  return Json::parse(result.out);
}

bool is_empty(const TempDir& folder) { return std::filesystem::is_empty(folder.path()); }

}  // namespace

TEST_CASE("synth: the file runs, and the same seed gives it again") {
  const TempDir folder;
  const auto made = [&](const Words& more) {
    Words words{"synth", "tiny", "--type", "Q4_K_M", "-o", folder.path("tiny.gguf")};
    words.insert(words.end(), more.begin(), more.end());
    const Finished result = run_decant(words);
    CHECK(result.status == 0);
    CHECK(result.out.empty());
    CHECK(result.err.empty());
    return read_file(folder.path("tiny.gguf"));
  };
  const std::string first = made({});
  CHECK(made({"--seed", "0"}) == first);
  CHECK(made({"--seed", "1"}) != first);
  const Finished run = run_decant({"run", "-m", folder.path("tiny.gguf"), "babo lima", "--temp", "0", "-n", "8"});
  CHECK(run.status == 0);
  CHECK(!run.out.empty());
}

TEST_CASE("synth: what can't be made exits 1 with one line, and leaves nothing") {
  const TempDir folder;
  folder.write("config.json", R"({"model_type": "llama", "hidden_size": 64})");
  for (const std::string& shape : {std::string("/nonesuch.json"), folder.path("config.json")}) {
    CAPTURE(shape);
    const Finished result = run_decant({"synth", shape, "--type", "q4_0", "-o", folder.path("x.gguf")});
    CHECK(result.status == 1);
    CHECK(is_one_line(result.err));
    CHECK(result.err.find(shape) != std::string::npos);
    CHECK(!std::filesystem::exists(folder.path("x.gguf")));
  }
  const Finished full = run_decant({"synth", "tiny", "--type", "q4_0", "-o", "/nonesuch/x.gguf"});
  CHECK(full.status == 1);
  CHECK(is_one_line(full.err));
}

TEST_CASE("synth: Ctrl-C leaves nothing behind") {
  const TempDir folder;
  Child child({"synth", "llama-8b", "--type", "f32", "-o", folder.path("big.gguf")});
  child.interrupt(SIGINT);
  const Finished result = child.finish();
  CHECK(result.status == 130);
  CHECK(is_one_line(result.err));
  CHECK(is_empty(folder));
}

TEST_CASE("machine: JSON says what the CPU is and how fast memory is read, with one thread up to all") {
  const Json machine = json_of({"machine", "--json"});
  for (const char* const name : {"cpu", "n_cpus", "n_threads", "n_numa_nodes", "isas", "isa", "caches", "huge_pages",
                                 "memory_bytes", "available_bytes", "read_bandwidth"}) {
    CAPTURE(name);
    CHECK(machine.contains(name));
  }
  CHECK(machine.at("isas").back() == machine.at("isa"));
  const Json& bandwidth = machine.at("read_bandwidth");
  REQUIRE(!bandwidth.empty());
  CHECK(bandwidth.front().at("threads") == 1);
  CHECK(bandwidth.back().at("threads") == machine.at("n_threads"));
  for (const Json& point : bandwidth) CHECK(point.at("gb_per_s").get<double>() > 0.01);
  const Finished table = run_decant({"machine"});
  CHECK(table.status == 0);
  CHECK(table.out.find("read bandwidth") != std::string::npos);
}

TEST_CASE("profile: JSON has a run for each thread count and depth, with the bytes that follow from the shape") {
  const TempDir folder;
  const Json report = json_of({"profile", "--synthetic", "tiny:q8_0", "--threads", "1,2", "--depths", "0,300", "-n",
                               "4", "--repeat", "2", "--kv-type", "q8", "--prompt-tokens", "64", "--json"},
                              {.environment = {"TMPDIR=" + folder.path()}});
  CHECK(is_empty(folder));
  CHECK(report.at("version") == 1);
  CHECK(report.at("options").at("k_type") == "q8");
  CHECK(report.at("machine").contains("cpu"));
  // 512 · 256 and, in two layers, q, k, v, o and three of the feed-forward network, 34 bytes for 32; norms of 256
  // floats.
  constexpr int kWeights = (512 * 256 + 2 * (256 * 256 * 3 + 3 * 256 * 512)) / 32 * 34 + 5 * 256 * 4;
  CHECK(report.at("model").at("token_bytes") == kWeights);
  CHECK(report.at("load").at("seconds").get<double>() > 0.0);
  CHECK(report.at("load").at("first_token_seconds") > report.at("load").at("seconds"));
  const Json& runs = report.at("runs");
  REQUIRE(runs.size() == 4);
  size_t i = 0;
  for (const int threads : {1, 2})
    for (const int depth : {0, 300}) {
      const Json& run = runs[i++];
      CHECK(run.at("threads") == threads);
      CHECK(run.at("depth") == depth);
      const Json& token = run.at("token");
      CHECK(token.at("bytes") == kWeights + depth * 2 * 2 * 2 * 2 * 34);  // layers, heads, K and V, blocks
      CHECK(token.at("ms_p50").get<double>() > 0.0);
      CHECK(token.at("ms_p50") <= token.at("ms_p90"));
      CHECK(token.at("ms_p90") <= token.at("ms_p99"));
      CHECK(token.at("tokens_per_s").get<double>() == doctest::Approx(1e3 / token.at("ms_p50").get<double>()));
      CHECK(token.at("gb_per_s").get<double>() ==
            doctest::Approx(token.at("bytes").get<double>() / token.at("ms_p50").get<double>() / 1e6));
      CHECK(token.at("bandwidth_share").get<double>() ==
            doctest::Approx(token.at("gb_per_s").get<double>() / run.at("bandwidth_gb_per_s").get<double>()));
      CHECK(run.at("prefill").at("n_tokens") == 64);
      CHECK(run.at("prefill").at("seconds").get<double>() > 0.0);
      CHECK(run.at("prefill").at("tokens_per_s").get<double>() > 0.0);
    }
}

TEST_CASE("profile: a table for people, of the model that is named") {
  const Finished result =
      run_decant({"profile", "-m", tiny_model(), "-n", "2", "--repeat", "1", "--prompt-tokens", "0"});
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("tokens/s") != std::string::npos);
  CHECK(result.out.find(tiny_model()) != std::string::npos);
}

TEST_CASE("profile: a depth that the context can't hold exits 1 and says so") {
  const Finished result = run_decant({"profile", "--synthetic", "tiny:q4_0", "--depths", "4096"});
  CHECK(result.status == 1);
  CHECK(result.out.empty());
  CHECK(is_one_line(result.err));
  CHECK(result.err.find("4096") != std::string::npos);
}

TEST_CASE("profile: Ctrl-C leaves no model behind") {
  const TempDir folder;
  Child child({"profile", "--synthetic", "llama-8b:f32"}, {.environment = {"TMPDIR=" + folder.path()}});
  child.interrupt(SIGTERM);
  const Finished result = child.finish();
  CHECK(result.status == 143);
  CHECK(is_one_line(result.err));
  CHECK(is_empty(folder));
}
