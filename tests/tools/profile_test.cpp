// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

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

int64_t bytes_of(const Json& ops) {
  int64_t sum = 0;
  for (const Json& op : ops) sum += op.at("bytes").get<int64_t>();
  return sum;
}

/// Nanoseconds of all operations, and of what is none.
double named_ns(const Json& run) {
  double sum = 0.0;
  for (const char* const part : {"ops", "other"})
    for (const Json& row : run.at(part)) sum += row.at("ns").get<double>();
  return sum;
}

/// Of a trace, in nanoseconds.
struct Slice {
  int64_t begin, length;
};

/// Whether slices lie side by side or one within another, as the trace format wants it.
bool nested(std::vector<Slice>& slices) {
  std::stable_sort(slices.begin(), slices.end(), [](const Slice& a, const Slice& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.length > b.length;
  });
  std::vector<int64_t> ends;
  for (const Slice& slice : slices) {
    while (!ends.empty() && ends.back() <= slice.begin) ends.pop_back();
    if (!ends.empty() && slice.begin + slice.length > ends.back()) return false;
    ends.push_back(slice.begin + slice.length);
  }
  return true;
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
                               "4", "--repeat", "2", "--kv-type", "q8", "--prompt-tokens", "64", "--json", "-"},
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
      CHECK(bytes_of(run.at("ops")) == token.at("bytes").get<int64_t>());
      CHECK(token.at("ms_p50").get<double>() > 0.0);
      CHECK(token.at("ms_p50") <= token.at("ms_p90"));
      CHECK(token.at("ms_p90") <= token.at("ms_p99"));
      CHECK(token.at("tokens_per_s").get<double>() == doctest::Approx(1e3 / token.at("ms_p50").get<double>()));
      CHECK(token.at("gb_per_s").get<double>() ==
            doctest::Approx(token.at("bytes").get<double>() / token.at("ms_p50").get<double>() / 1e6));
      CHECK(token.at("bandwidth_share").get<double>() ==
            doctest::Approx(token.at("gb_per_s").get<double>() / run.at("bandwidth_gb_per_s").get<double>()));
      CHECK(run.at("itl_ms").size() == 8);
      CHECK(run.at("ttft_ms").size() == 2);
      CHECK(run.at("workers").size() == static_cast<size_t>(threads));
      CHECK(run.at("timeline").at("lanes").size() == static_cast<size_t>(threads));
      CHECK(!run.at("verdict").at("text").empty());
      CHECK(run.at("prefill").at("n_tokens") == 64);
      CHECK(run.at("prefill").at("seconds").get<double>() > 0.0);
      CHECK(run.at("prefill").at("tokens_per_s").get<double>() > 0.0);
      CHECK(bytes_of(run.at("prefill").at("ops")) == token.at("bytes").get<int64_t>());
    }
}

TEST_CASE("profile: operations and the rest add up to a token and to a prompt") {
  const Json report = json_of(
      {"profile", "--threads", "1,2", "--depths", "0,700", "-n", "32", "--prompt-tokens", "128", "--json", "-"});
  for (const Json& run : report.at("runs")) {
    CHECK(named_ns(run) == doctest::Approx(run.at("token").at("ms_typical").get<double>() * 1e6).epsilon(0.02));
    const Json& prefill = run.at("prefill");
    CHECK(named_ns(prefill) == doctest::Approx(prefill.at("seconds").get<double>() * 1e9).epsilon(0.02));
  }
}

TEST_CASE("profile: a table for people, of the model that is named, 100 columns wide") {
  const Finished result = run_decant(
      {"profile", "-m", tiny_model(), "-n", "2", "--repeat", "1", "--prompt", "babo lima", "--threads", "1,2"});
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  for (const char* const text : {"tokens/s", "ffn_down", "barriers", "verdict", "memory allows", "thread 1"}) {
    CAPTURE(text);
    CHECK(result.out.find(text) != std::string::npos);
  }
  CHECK(result.out.find(tiny_model()) != std::string::npos);
  CHECK(result.out.find('\033') == std::string::npos);
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);)
    if (line.find(tiny_model()) == std::string::npos) CHECK(line.size() <= 100);
}

TEST_CASE("profile: CSV has a line of names and one for each run") {
  const Finished result = run_decant({"profile", "-m", tiny_model(), "-n", "2", "--repeat", "1", "--depths", "0,8",
                                      "--threads", "1", "--prompt-tokens", "0", "--csv"});
  CHECK(result.status == 0);
  std::istringstream lines(result.out);
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  REQUIRE(all.size() == 3);
  const auto n_fields = [](const std::string& line) { return std::count(line.begin(), line.end(), ','); };
  CHECK(all[0].find("ms_p50") != std::string::npos);
  CHECK(n_fields(all[1]) == n_fields(all[0]));
  CHECK(n_fields(all[2]) == n_fields(all[0]));
}

TEST_CASE("profile: the trace is one that a parser reads, with a lane for each thread, whose slices nest") {
  const TempDir folder;
  const Finished result = run_decant({"profile", "-m", tiny_model(), "-n", "8", "--repeat", "2", "--depths", "0,8",
                                      "--threads", "1,2", "--prompt-tokens", "16", "--trace", folder.path("t.json")});
  REQUIRE(result.status == 0);
  const Json trace = Json::parse(read_file(folder.path("t.json")));
  std::map<std::pair<int, int>, std::vector<Slice>> lanes;
  std::set<std::string> names;
  int n_lane_names = 0, n_tokens = 0;
  for (const Json& event : trace.at("traceEvents")) {
    const std::string ph = event.at("ph");
    if (ph == "M") {
      n_lane_names += event.at("name") == "thread_name" ? 1 : 0;
      continue;
    }
    REQUIRE(ph == "X");
    names.insert(event.at("name").get<std::string>());
    n_tokens += event.at("name") == "token" ? 1 : 0;
    const double begin = event.at("ts"), length = event.at("dur");
    CHECK(begin >= 0.0);
    CHECK(length >= 0.0);
    lanes[{event.at("pid"), event.at("tid")}].push_back({std::llround(begin * 1e3), std::llround(length * 1e3)});
  }
  CHECK(n_lane_names == 2 + 3);  // tokens, and 1 and 2 threads
  CHECK(n_tokens == 8 * 2 * 2 * 2);
  for (const char* const name : {"token", "prompt", "qkv", "attention", "head", "sample", "wait"}) {
    CAPTURE(name);
    CHECK(names.count(name) == 1);
  }
  CHECK(lanes.size() == 5);
  for (auto& [lane, slices] : lanes) {
    CAPTURE(lane.first);
    CAPTURE(lane.second);
    CHECK(nested(slices));
  }
}

TEST_CASE("profile: the page holds the data and asks for nothing from elsewhere") {
  const TempDir folder;
  const Finished result = run_decant({"profile", "-m", tiny_model(), "-n", "2", "--repeat", "1", "--prompt-tokens", "0",
                                      "--html", folder.path("p.html")});
  REQUIRE(result.status == 0);
  const std::string page = read_file(folder.path("p.html"));
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(page.find("\"itl_ms\"") != std::string::npos);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK(page.find("https:") == std::string::npos);
}

TEST_CASE("profile: two reports compared, as text and as a page") {
  const TempDir folder;
  for (const char* const name : {"a.json", "b.json"}) {
    const Finished result = run_decant({"profile", "-m", tiny_model(), "-n", "4", "--repeat", "2", "--prompt-tokens",
                                        "8", "--threads", "1", "--json", folder.path(name)});
    REQUIRE(result.status == 0);
    CHECK(result.out.find("verdict") != std::string::npos);
  }
  const Finished result = run_decant(
      {"profile", "--compare", folder.path("a.json"), folder.path("b.json"), "--html", folder.path("c.html")});
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("token, median") != std::string::npos);
  CHECK(read_file(folder.path("c.html")).starts_with("<!doctype html>"));

  folder.write("cut.json", read_file(folder.path("a.json")).substr(0, 1000));
  const Finished cut = run_decant({"profile", "--compare", folder.path("a.json"), folder.path("cut.json")});
  CHECK(cut.status == 1);
  CHECK(is_one_line(cut.err));
  CHECK(cut.err.find("cut.json") != std::string::npos);
}

TEST_CASE("profile: a report that can't be written is told of, before the measuring where that is known") {
  const Finished nowhere = run_decant({"profile", "-m", tiny_model(), "--json", "/nonesuch/report.json"});
  CHECK(nowhere.status == 1);
  CHECK(nowhere.out.empty());
  CHECK(is_one_line(nowhere.err));
  for (const char* const option : {"--json", "--html", "--trace"}) {
    CAPTURE(option);
    const Finished full = run_decant(
        {"profile", "-m", tiny_model(), "-n", "2", "--repeat", "1", "--prompt-tokens", "0", option, "/dev/full"});
    CHECK(full.status == 1);
    CHECK(is_one_line(full.err));
  }
}

TEST_CASE("profile: a depth that the context can't hold exits 1 and says so") {
  const Finished result = run_decant({"profile", "--synthetic", "tiny:q4_0", "--depths", "4096"});
  CHECK(result.status == 1);
  CHECK(result.out.empty());
  CHECK(is_one_line(result.err));
  CHECK(result.err.find("4096") != std::string::npos);
}

TEST_CASE("profile: Ctrl-C leaves no model and no report behind") {
  const TempDir folder;
  Child child({"profile", "--synthetic", "llama-8b:f32", "--json", folder.path("report.json")},
              {.environment = {"TMPDIR=" + folder.path()}});
  child.interrupt(SIGTERM);
  const Finished result = child.finish();
  CHECK(result.status == 143);
  CHECK(is_one_line(result.err));
  CHECK(is_empty(folder));
}
