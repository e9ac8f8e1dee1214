// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_report.h"

#include "decant/detail/format.h"

#include "tools/machine_report.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

Json token_json(const profile::DecodeFigures& f) {
  return {{"ms_p50", f.ms_p50},
          {"ms_p90", f.ms_p90},
          {"ms_p99", f.ms_p99},
          {"bytes", f.bytes},
          {"gb_per_s", f.gb_per_s},
          {"bandwidth_share", f.bandwidth_share},
          {"tokens_per_s", f.tokens_per_s}};
}

double prefill_seconds(const ProfileRun& run) { return profile::quantile(run.prefill.seconds, 0.5); }

Json run_json(const ProfileRun& run, size_t weight_bytes) {
  const profile::DecodeFigures f = profile::decode_figures(run.decode, weight_bytes);
  Json json;
  json["threads"] = run.n_threads;
  json["depth"] = run.depth;
  json["token"] = token_json(f);
  if (run.n_prefill_tokens > 0)
    json["prefill"] = {{"n_tokens", run.n_prefill_tokens},
                       {"seconds", prefill_seconds(run)},
                       {"tokens_per_s", run.n_prefill_tokens / prefill_seconds(run)}};
  else
    json["prefill"] = nullptr;
  json["bandwidth_gb_per_s"] = f.bandwidth_gb_per_s;
  return json;
}

double seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

}  // namespace

Json profile_json(const ProfileReport& report) {
  const ModelInfo& info = report.model;
  Json json;
  json["version"] = kVersion;
  json["decant"] = DECANT_VERSION;
  json["machine"] = machine_json(report.machine);
  json["model"] = {{"path", info.path},
                   {"name", info.name},
                   {"architecture", info.architecture},
                   {"n_params", info.n_params},
                   {"n_layers", info.n_layers},
                   {"d_model", info.d_model},
                   {"d_ff", info.d_ff},
                   {"n_heads", info.n_heads},
                   {"n_kv_heads", info.n_kv_heads},
                   {"head_dim", info.head_dim},
                   {"vocab_size", info.vocab_size},
                   {"tied_head", info.tied_head},
                   {"file_bytes", info.file_bytes},
                   {"packed_bytes", info.packed_bytes},
                   {"token_bytes", report.weight_bytes}};
  json["options"] = {
      {"k_type", report.k_type}, {"v_type", report.v_type}, {"isa", report.isa}, {"numerics", report.numerics}};
  json["load"] = {{"seconds", report.load_seconds},
                  {"metadata_seconds", seconds(report.load_times.metadata_ns)},
                  {"tokenizer_seconds", seconds(report.load_times.tokenizer_ns)},
                  {"weights_seconds", seconds(report.load_times.weights_ns)},
                  {"weight_bytes", info.file_bytes},
                  {"threads", report.load_times.n_threads},
                  {"mapped", report.load_times.mapped},
                  {"first_token_seconds", report.first_token_seconds}};
  json["runs"] = Json::array();
  for (const ProfileRun& run : report.runs) json["runs"].push_back(run_json(run, report.weight_bytes));
  return json;
}

std::string profile_table(const ProfileReport& report) {
  std::string text = detail::format("machine  {}\n", machine_line(report.machine));
  text += detail::format("model    {}, {:.1f} MB of weights a token, cache of {}/{}, {} kernels, {} numerics\n",
                         report.model.path, static_cast<double>(report.weight_bytes) / 1e6, report.k_type,
                         report.v_type, report.isa, report.numerics);
  text += detail::format(
      "load     {:.2f} s (metadata {:.2f}, tokenizer {:.2f}, weights {:.2f}); first token after {:.2f} s\n",
      report.load_seconds, seconds(report.load_times.metadata_ns), seconds(report.load_times.tokenizer_ns),
      seconds(report.load_times.weights_ns), report.first_token_seconds);
  text += "\n                 milliseconds a token                                   of memory's    prefill\n";
  text += "threads  depth     p50      p90      p99   tokens/s  MB/token   GB/s    GB/s  share   tokens/s\n";
  for (const ProfileRun& run : report.runs) {
    const profile::DecodeFigures f = profile::decode_figures(run.decode, report.weight_bytes);
    text += detail::format(
        "{:>7} {:>6} {:>8.3f} {:>8.3f} {:>8.3f} {:>9.1f} {:>9.1f} {:>7.1f} {:>7.1f} {:>5.0f}% {:>9}\n", run.n_threads,
        run.depth, f.ms_p50, f.ms_p90, f.ms_p99, f.tokens_per_s, static_cast<double>(f.bytes) / 1e6, f.gb_per_s,
        f.bandwidth_gb_per_s, 100.0 * f.bandwidth_share,
        run.n_prefill_tokens > 0 ? detail::format("{:.1f}", run.n_prefill_tokens / prefill_seconds(run)) : "-");
  }
  return text;
}

}  // namespace decant::tools
