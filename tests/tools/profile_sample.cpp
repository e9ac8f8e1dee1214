// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/profile_sample.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace decant::test {
namespace {

using Json = nlohmann::ordered_json;

/// About normal, and the same on every machine: twelve uniform numbers have the variance 1.
double normal(std::mt19937_64& generator) {
  double sum = -6.0;
  for (int i = 0; i < 12; ++i) sum += std::ldexp(static_cast<double>(generator() >> 11), -53);
  return sum;
}

Json operation(const char* name, double ns, int64_t bytes, double ms) {
  Json op = {{"name", name}, {"ns", ns}, {"share", ns / ms / 1e6}, {"bytes", bytes}};
  op["gb_per_s"] = bytes > 0 ? Json(static_cast<double>(bytes) / ns) : Json();
  op["bandwidth_share"] = bytes > 0 ? Json(0.5) : Json();
  return op;
}

Json sample_run(const SampleRun& s, int n_tokens, int repeat) {
  std::mt19937_64 generator(s.seed);
  std::vector<double> itl, first, bandwidth;
  for (int round = 0; round < repeat; ++round) {
    const double pace = 1.0 + s.drift * normal(generator);
    for (int i = 0; i < n_tokens; ++i) itl.push_back(s.ms * pace * (1.0 + s.noise * normal(generator)));
    first.push_back(20.0 * s.ms * pace * (1.0 + 0.001 * normal(generator)));
    bandwidth.push_back(s.gb_per_s * (1.0 + 0.001 * normal(generator)));
  }
  std::vector<double> sorted = itl;
  std::sort(sorted.begin(), sorted.end());
  const auto quantile = [&](double q) {
    const auto at = static_cast<size_t>(q * static_cast<double>(sorted.size()));
    return sorted[std::min(at, sorted.size() - 1)];
  };
  const double median = quantile(0.5);
  constexpr int64_t kBytes = 80'000'000;
  const double rate = kBytes / median / 1e6;

  Json run = {{"threads", s.threads}, {"depth", s.depth}};
  run["token"] = {{"ms_p50", median},
                  {"ms_p90", quantile(0.9)},
                  {"ms_p99", quantile(0.99)},
                  {"ms_p999", quantile(0.999)},
                  {"ms_max", sorted.back()},
                  {"ms_typical", median},
                  {"bytes", kBytes},
                  {"gb_per_s", rate},
                  {"bandwidth_share", rate / s.gb_per_s},
                  {"tokens_per_s", 1e3 / median}};
  const double qkv = 0.3e6 * median * s.ops_scale, ffn = 0.6e6 * median * s.ops_scale;
  const Json ops = {operation("qkv", qkv, kBytes / 4, median), operation("kv_append", 1000.0, 0, median),
                    operation("ffn_up", ffn, kBytes / 4 * 3, median)};
  const Json other = Json::array({{{"name", "barriers"}, {"ns", 0.1e6 * median}, {"share", 0.1}}});
  const Json workers = Json::array(
      {{{"thread", 0}, {"busy_ns", 9e5 * median}, {"wait_ns", 1e5 * median}, {"pieces", 8.5}, {"pace", 1.0}}});
  run["prefill"] = {{"n_tokens", 16}, {"seconds", 0.02 * median}, {"tokens_per_s", 16 / 0.02 / median},
                    {"ops", ops},     {"other", other},           {"workers", workers}};
  run["ttft"] = {{"ms_p50", first[0]}, {"tokenize_ms", 0.1}, {"prefill_ms", 19.0}, {"sample_ms", 0.2}};
  run["bandwidth_gb_per_s"] = s.gb_per_s;
  run["ops"] = ops;
  run["other"] = other;
  run["workers"] = workers;
  run["layers"] = {{"ops", {"qkv", "ffn_up"}}, {"ns", {{qkv / 2, ffn / 2}, {qkv / 2, ffn / 2}}}};
  run["events"] = {
      {"page_faults", 0.5}, {"major_page_faults", 0}, {"context_switches", 1}, {"involuntary_context_switches", 0.25}};
  run["counters"] = {{"cycles", 1e6}, {"instructions", 2e6}, {"cache_misses", nullptr}, {"tlb_misses", 10}};
  run["counters_note"] = nullptr;
  run["slowest"] =
      Json::array({{{"round", 0}, {"token", 1}, {"ms", sorted.back()}, {"excess_ms", 0.1}, {"reason", ""}}});
  const Json span = {{"name", "qkv"}, {"layer", 0}, {"start_us", 1.0}, {"us", 120.5}, {"wait", false}};
  run["timeline"] = {{"ms", median}, {"lanes", Json::array({{{"thread", 0}, {"spans", Json::array({span})}}})}};
  run["histogram"] = {{"bounds_s", {0.01, 0.1}}, {"counts", {itl.size(), 0, 0}}, {"sum_s", 2.1}};
  run["itl_ms"] = itl;
  run["ttft_ms"] = first;
  run["bandwidth_rounds_gb_per_s"] = bandwidth;
  run["verdict"] = {{"bound", "memory"}, {"text", {"Memory bounds it."}}};
  return run;
}

}  // namespace

Json sample_report(const std::vector<SampleRun>& runs, int n_tokens, int repeat) {
  Json report = {{"version", 1}, {"decant", "0.1.0"}};
  report["machine"] = {
      {"cpu", "A CPU"},
      {"n_cpus", 2},
      {"n_threads", 2},
      {"n_numa_nodes", 1},
      {"isas", {"reference", "avx2"}},
      {"isa", "avx2"},
      {"caches", Json::array({{{"level", 1}, {"type", "Data"}, {"size_bytes", 32768}, {"shared_by", "0"}}})},
      {"huge_pages", "madvise"},
      {"memory_bytes", int64_t{1} << 34},
      {"available_bytes", int64_t{1} << 33}};
  report["model"] = {{"path", "m.gguf"}, {"name", "m"},       {"architecture", "llama"},
                     {"n_params", 1000}, {"n_layers", 2},     {"d_model", 256},
                     {"d_ff", 512},      {"n_heads", 4},      {"n_kv_heads", 2},
                     {"head_dim", 64},   {"vocab_size", 512}, {"tied_head", true},
                     {"file_bytes", 1},  {"packed_bytes", 1}, {"token_bytes", 1}};
  report["options"] = {{"k_type", "f16"},      {"v_type", "f16"},     {"isa", "avx2"},        {"numerics", "exact"},
                       {"pin_threads", false}, {"prompt_tokens", 16}, {"n_tokens", n_tokens}, {"repeat", repeat}};
  report["load"] = {{"seconds", 0.2},         {"metadata_seconds", 0.01},   {"tokenizer_seconds", 0.1},
                    {"weights_seconds", 0.1}, {"weight_bytes", 1000},       {"threads", 2},
                    {"mapped", false},        {"first_token_seconds", 0.3}, {"cached_share", nullptr},
                    {"disk_bytes", 0}};
  report["memory"] = Json::array({{{"owner", "weights"}, {"bytes", 1000}}});
  report["runs"] = Json::array();
  for (const SampleRun& run : runs) report["runs"].push_back(sample_run(run, n_tokens, repeat));
  report["verdict"] = {"Loading took 0.2 s."};
  return report;
}

}  // namespace decant::test
