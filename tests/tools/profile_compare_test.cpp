// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_compare.h"

#include <sstream>

#include <doctest/doctest.h>

#include "tests/support/temp_dir.h"
#include "tests/tools/profile_sample.h"
#include "tools/profile_file.h"

namespace decant::tools {
namespace {

using test::sample_report;
using test::SampleRun;
using Json = nlohmann::ordered_json;

/// Two reports, compared by way of files.
Json compare(const Json& a, const Json& b) {
  const test::TempDir folder;
  folder.write("A.json", a.dump());
  folder.write("B.json", b.dump());
  Result<Comparison> both = compare_profiles(folder.path("A.json"), folder.path("B.json"));
  REQUIRE_MESSAGE(both, both.error().message);
  CHECK(both->a == a);
  CHECK(both->b == b);
  const Result<Comparison> again = compare_profiles(folder.path("A.json"), folder.path("B.json"));
  REQUIRE(again);
  CHECK(again->comparison == both->comparison);
  return std::move(both->comparison);
}

const Json& figure(const Json& comparison, const std::string& name, size_t run = 0) {
  for (const Json& one : comparison.at("runs").at(run).at("figures"))
    if (one.at("name") == name) return one;
  FAIL("no figure ", name);
  return comparison;
}

bool has_figure(const Json& comparison, const std::string& name) {
  for (const Json& one : comparison.at("runs").at(0).at("figures"))
    if (one.at("name") == name) return true;
  return false;
}

std::string notes(const Json& comparison) {
  std::string all;
  for (const Json& note : comparison.at("notes")) all += note.get<std::string>() + "\n";
  return all;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// What reading a text as a report says; empty where it is taken.
std::string complaint(const std::string& text, ErrorCode code = ErrorCode::bad_format) {
  const test::TempDir folder;
  folder.write("it.json", text);
  const std::string path = folder.path("it.json");
  const Result<Json> report = read_profile(path);
  if (report) return {};
  CHECK(report.error().code == code);
  CHECK(report.error().message.starts_with(path + ": "));
  CHECK(report.error().message.find('\n') == std::string::npos);
  return report.error().message.substr(path.size() + 2);
}

/// What reading a report says in which one value is another.
std::string complaint_with(const char* pointer, const Json& value, ErrorCode code = ErrorCode::bad_format) {
  Json report = sample_report({{}}, 4, 2);
  report[Json::json_pointer(pointer)] = value;
  return complaint(report.dump(), code);
}

std::string complaint_without(const char* holder, const char* key) {
  Json report = sample_report({{}}, 4, 2);
  report[Json::json_pointer(holder)].erase(key);
  return complaint(report.dump());
}

}  // namespace

TEST_CASE("compare: a report beside itself differs in nothing") {
  const Json report = sample_report({{}, {.threads = 2, .depth = 512, .drift = 0.02, .seed = 5}});
  const Json comparison = compare(report, report);
  CHECK(comparison.at("notes").empty());
  CHECK(comparison.at("only_a").empty());
  CHECK(comparison.at("only_b").empty());
  REQUIRE(comparison.at("runs").size() == 2);
  for (const Json& run : comparison.at("runs")) {
    CHECK(run.at("figures").size() == 5);
    for (const Json& one : run.at("figures")) {
      CHECK(one.at("ratio") == 1.0);
      CHECK(one.at("differs") == false);
      CHECK(one.at("better").is_null());
    }
  }
}

TEST_CASE("compare: a faster run is told of with its interval, time and rate alike") {
  const Json comparison = compare(sample_report({{.ms = 7.1}}), sample_report({{.ms = 6.5, .seed = 2}}));
  const Json& time = figure(comparison, "ms_p50");
  CHECK(time.at("unit") == "ms");
  CHECK(time.at("a").get<double>() == doctest::Approx(7.1).epsilon(0.01));
  CHECK(time.at("ratio").get<double>() == doctest::Approx(6.5 / 7.1).epsilon(0.005));
  CHECK(time.at("low") <= time.at("ratio"));
  CHECK(time.at("ratio") <= time.at("high"));
  CHECK(time.at("differs") == true);
  CHECK(time.at("better") == "b");
  const auto text = time.at("text").get<std::string>();
  CAPTURE(text);
  CHECK(has(text, " ms → 6.5"));
  CHECK(has(text, " % faster ("));
  const Json& rate = figure(comparison, "tokens_per_s");
  CHECK(rate.at("a").get<double>() == doctest::Approx(1e3 / time.at("a").get<double>()));
  CHECK(rate.at("ratio").get<double>() == doctest::Approx(1.0 / time.at("ratio").get<double>()));
  CHECK(rate.at("low") <= rate.at("ratio"));
  CHECK(rate.at("ratio") <= rate.at("high"));
  CHECK(rate.at("better") == "b");
  CHECK(has(rate.at("text").get<std::string>(), " % more ("));
  CHECK(figure(comparison, "ttft_ms").at("better") == "b");
  CHECK(figure(comparison, "bandwidth_gb_per_s").at("better").is_null());

  const Json back = compare(sample_report({{.ms = 6.5}}), sample_report({{.ms = 7.1, .seed = 2}}));
  CHECK(figure(back, "ms_p50").at("better") == "a");
  CHECK(has(figure(back, "ms_p50").at("text").get<std::string>(), " % slower ("));
}

TEST_CASE("compare: what lies within the drift of rounds is noise") {
  const Json comparison =
      compare(sample_report({{.ms = 7.0, .drift = 0.05}}), sample_report({{.ms = 7.15, .drift = 0.05, .seed = 2}}));
  CHECK(figure(comparison, "ms_p50").at("differs") == false);
  CHECK(has(figure(comparison, "ms_p50").at("text").get<std::string>(), "no difference beyond the noise ("));
}

TEST_CASE("compare: too little to tell is said") {
  const Json comparison = compare(sample_report({{}}, 4, 1), sample_report({{.ms = 9.0, .seed = 2}}, 4, 1));
  CHECK(has(figure(comparison, "ms_p99").at("text").get<std::string>(), "too few"));
  CHECK(figure(comparison, "ttft_ms").at("enough") == false);
  CHECK(figure(comparison, "ttft_ms").at("differs") == false);
  CHECK(has(notes(comparison), "single round"));
}

TEST_CASE("compare: a machine whose memory was slower is told of, and the shares are compared") {
  const Json comparison = compare(sample_report({{.ms = 7.0, .gb_per_s = 20.0}}),
                                  sample_report({{.ms = 8.75, .gb_per_s = 16.0, .seed = 2}}));
  CHECK(figure(comparison, "ms_p50").at("better") == "a");
  const Json& share = figure(comparison, "bandwidth_share");
  CHECK(share.at("a").get<double>() == doctest::Approx(100.0 * 80.0 / 7.0 / 20.0).epsilon(0.01));
  CHECK(share.at("ratio").get<double>() == doctest::Approx(1.0).epsilon(0.01));
  CHECK(share.at("differs") == false);
  CHECK(has(notes(comparison), "1 thread, depth 0: memory gave 20.0 GB/s beside A and 16.0 beside B"));
  const Json alike = compare(sample_report({{}}), sample_report({{.gb_per_s = 20.2}}));
  CHECK(!has_figure(alike, "bandwidth_share"));
  CHECK(alike.at("notes").empty());
}

TEST_CASE("compare: operations stand side by side, those that only one has too") {
  Json a = sample_report({{}}), b = sample_report({{.ops_scale = 0.5}});
  a["runs"][0]["ops"][1]["name"] = "only_in_a";
  b["runs"][0]["ops"][1]["name"] = "only_in_b";
  const Json comparison = compare(a, b);
  const Json& ops = comparison.at("runs").at(0).at("ops");
  REQUIRE(ops.size() == 4);
  CHECK(ops[0].at("name") == "qkv");
  CHECK(ops[0].at("b_ns").get<double>() == doctest::Approx(ops[0].at("a_ns").get<double>() / 2));
  CHECK(ops[1].at("b_ns").is_null());
  CHECK(ops[3].at("name") == "only_in_b");
  CHECK(ops[3].at("a_ns").is_null());
  CHECK(comparison.at("runs").at(0).at("other").at(0).at("name") == "barriers");
}

TEST_CASE("compare: runs are matched by threads and depth, whatever their order") {
  const Json comparison = compare(sample_report({{.threads = 1}, {.threads = 2, .ms = 4.0}, {.depth = 64}}),
                                  sample_report({{.threads = 2, .ms = 4.0}, {.threads = 4}, {.threads = 1}}));
  REQUIRE(comparison.at("runs").size() == 2);
  CHECK(figure(comparison, "ms_p50", 0).at("ratio") == 1.0);
  CHECK(figure(comparison, "ms_p50", 1).at("ratio") == 1.0);
  CHECK(comparison.at("only_a") == Json::parse(R"([{"threads": 1, "depth": 64}])"));
  CHECK(comparison.at("only_b") == Json::parse(R"([{"threads": 4, "depth": 0}])"));
  CHECK(has(notes(compare(sample_report({{.depth = 1}}), sample_report({{.depth = 2}}))), "no run of A"));
}

TEST_CASE("compare: what else differs is noted, and prompts of two lengths aren't compared") {
  Json a = sample_report({{}}), b = a;
  b["machine"]["cpu"] = "Another";
  b["machine"]["available_bytes"] = 1;
  b["model"]["n_layers"] = 3;
  b["model"]["path"] = "elsewhere";
  b["options"]["k_type"] = "q8";
  b["options"]["prompt_tokens"] = 32;
  b["runs"][0]["prefill"]["n_tokens"] = 32;
  b["decant"] = "0.2.0";
  const Json comparison = compare(a, b);
  CHECK(notes(comparison) ==
        "the machines differ: cpu 'A CPU' and 'Another'\n"
        "the models differ: n_layers 2 and 3\n"
        "measured in another way: k_type 'f16' and 'q8', prompt_tokens 16 and 32\n"
        "measured by another version: decant '0.1.0' and '0.2.0'\n");
  CHECK(!has_figure(comparison, "ttft_ms"));
  b["options"]["prompt_tokens"] = 0;
  b["runs"][0]["prefill"] = b["runs"][0]["ttft"] = nullptr;
  b["runs"][0]["ttft_ms"] = Json::array();
  CHECK(!has_figure(compare(a, b), "ttft_ms"));
}

TEST_CASE("comparison_table: fits 100 columns and says what the comparison says") {
  Json a = sample_report({{.ms = 7.1}, {.threads = 64, .depth = 131072}}),
       b = sample_report({{.ms = 6.5, .gb_per_s = 15.0, .seed = 2}, {.threads = 3}});
  b["machine"]["cpu"] = std::string(300, 'x');
  for (const char* const field : {"name", "architecture"}) b["model"][field] = std::string(90, 'y');
  a["runs"][0]["ops"][0]["name"] = std::string(200, 'z');
  Json comparison = compare(a, b);
  comparison["a"]["path"] = std::string(200, 'p').append("/the-name.json");
  const std::string table = comparison_table(comparison);
  CAPTURE(table);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; }) <= 100);
    CHECK(!line.ends_with(' '));
  }
  CHECK(has(table, "/the-name.json\n"));
  CHECK(has(table, "1 thread, depth 0\n"));
  CHECK(has(table, "% faster ("));
  CHECK(has(table, "share of memory's"));
  CHECK(has(table, "only in A: 64 threads, depth 131072\n"));
  CHECK(has(table, "ffn_up"));
}

TEST_CASE("read_profile: what is no report gets one line that names the file and the fault") {
  CHECK(has(complaint(""), "is not JSON"));
  CHECK(has(complaint("{\"version\": 1,"), "is not JSON: parse error at line 1"));
  CHECK(has(complaint(std::string("\x7f\0\xff\n", 4)), "is not JSON"));
  CHECK(has(complaint("[1, 2]"), "is not a report"));
  CHECK(has(complaint("{}"), "version is missing"));
  CHECK(has(complaint(R"({"version": 2})", ErrorCode::unsupported), "version is 2, this program reads 1"));
  CHECK(has(complaint(R"({"version": -7e99})", ErrorCode::unsupported), "version is -7e+99"));
  CHECK(complaint_with("/version", "1") == "version should be an integer, is a string");
  CHECK(has(complaint(R"({"version": 1})"), "decant is missing"));
  CHECK(has(complaint(R"({"version": NaN})"), "is not JSON"));
  CHECK(has(complaint(R"({"version": 1e999})"), "is not JSON"));
  CHECK(has(complaint(R"({"version": 1, "x": )" + std::string(100'000, '[') + std::string(100'000, ']') + "}"),
            "nested too deeply"));
  CHECK(has(complaint(std::string(1'000'000, '[')), "is not JSON"));
  std::string wide = R"({"version": 1)";
  for (int i = 0; i < 200'000; ++i) wide += ",\"k" + std::to_string(i) + "\":0";
  CHECK(has(complaint(wide + "}"), "too many keys"));
  CHECK(read_profile("/nonesuch/report.json").error().code == ErrorCode::io);
  CHECK(read_profile("/tmp").error().code == ErrorCode::io);
}

TEST_CASE("read_profile: each field that is wrong is named") {
  CHECK(complaint(sample_report({{}}, 4, 2).dump()).empty());
  CHECK(complaint_with("/machine/cpu", 7) == "machine.cpu should be a string, is 7");
  CHECK(complaint_with("/runs", Json::array()) == "runs should have 1 or more, has 0");
  CHECK(complaint_with("/runs/0/threads", "two") == "runs[0].threads should be an integer, is a string");
  CHECK(complaint_with("/runs/0/threads", 1.5) == "runs[0].threads should be an integer, is 1.5");
  CHECK(complaint_with("/runs/0/threads", 1e300) ==
        "runs[0].threads should be at most 65536, is 1.0000000000000001e+300");
  CHECK(complaint_with("/runs/0/depth", -1) == "runs[0].depth should be at least 0, is -1");
  CHECK(complaint_with("/runs/0/depth", UINT64_MAX).starts_with("runs[0].depth should be at most"));
  CHECK(complaint_with("/options/repeat", 0) == "options.repeat should be at least 1, is 0");
  CHECK(complaint_with("/runs/0/itl_ms/3", nullptr) == "runs[0].itl_ms[3] should be a number, is null");
  CHECK(complaint_with("/runs/0/itl_ms/3", 0) == "runs[0].itl_ms[3] should be at least 9.9999999999999995e-07, is 0");
  CHECK(complaint_with("/runs/0/itl_ms/3", 1e308).starts_with("runs[0].itl_ms[3] should be at most"));
  CHECK(complaint_with("/runs/0/token/ms_p50", 0.0) == "runs[0].token.ms_p50 should be above 0, is 0");
  CHECK(complaint_with("/runs/0/ops/0/gb_per_s", true) ==
        "runs[0].ops[0].gb_per_s should be a number or null, is true");
  CHECK(complaint_with("/runs/0/ops/0/name", "") == "runs[0].ops[0].name should not be empty");
  CHECK(complaint_with("/runs/0/verdict/bound", "moon").starts_with("runs[0].verdict.bound should be one of memory,"));
  CHECK(complaint_with("/runs/0/timeline", 3) == "runs[0].timeline should be an object, is 3");
  CHECK(complaint_with("/runs/0/timeline", nullptr).empty());
  CHECK(complaint_without("/load", "mapped") == "load.mapped is missing");
  CHECK(complaint_without("/runs/0/token", "ms_p99") == "runs[0].token.ms_p99 is missing");
  CHECK(complaint_without("/runs/0/timeline/lanes/0/spans/0", "wait") ==
        "runs[0].timeline.lanes[0].spans[0].wait is missing");
  CHECK(complaint_with("/runs/0/of_a_later_version", {{"x", {1, 2}}}).empty());
}

TEST_CASE("read_profile: arrays that belong together are of one length, and no run is there twice") {
  CHECK(complaint_with("/runs/0/itl_ms", {1.0, 2.0}) == "runs[0].itl_ms has 2 numbers for 2 rounds of 4 tokens");
  CHECK(complaint_with("/options/n_tokens", 2147483647).starts_with("runs[0].itl_ms has 8 numbers for 2 rounds"));
  CHECK(complaint_with("/runs/0/ttft_ms", {1.0}) == "runs[0].ttft_ms has 1 numbers for 2 rounds");
  CHECK(complaint_with("/runs/0/ttft_ms", Json::array()).empty());
  CHECK(complaint_with("/runs/0/bandwidth_rounds_gb_per_s", {1.0, 2.0, 3.0}) ==
        "runs[0].bandwidth_rounds_gb_per_s has 3 numbers for 2 rounds");
  CHECK(complaint_with("/runs/0/histogram/counts", {8}) == "runs[0].histogram.counts has 1 numbers for 2 bounds");
  CHECK(complaint_with("/runs/0/layers/ns/1", {8}) == "runs[0].layers.ns[1] has 1 numbers for 2 operations");
  CHECK(complaint_with("/runs/0/ops/1/name", "qkv") == "runs[0].ops has 'qkv' twice");
  CHECK(complaint(sample_report({{.depth = 5}, {}, {.depth = 5}}, 4, 2).dump()) ==
        "runs[2]: 1 threads at depth 5 are there twice");
}

TEST_CASE("read_profile: a report that ends early or in which a byte is another never does harm") {
  const std::string text = sample_report({{}}, 2, 1).dump();
  for (size_t n = 0; n < text.size(); n += 7) CHECK(!complaint(text.substr(0, n)).empty());
  const test::TempDir folder;
  const Json good = sample_report({{}}, 2, 1);
  folder.write("A.json", good.dump());
  for (size_t i = 0; i < text.size(); i += 3) {
    std::string changed = text;
    changed[i] = "0\"[{-9e,"[i % 8];
    folder.write("B.json", changed);
    const Result<Comparison> compared = compare_profiles(folder.path("A.json"), folder.path("B.json"));
    if (compared)
      CHECK(!comparison_table(compared->comparison).empty());
    else
      CHECK(!compared.error().message.empty());
  }
}

}  // namespace decant::tools
