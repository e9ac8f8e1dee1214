// SPDX-License-Identifier: Apache-2.0
#include "decant/detail/format.h"

#include "tools/machine_report.h"
#include "tools/profile_report.h"
#include "tools/profile_spans.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr Op kLayerOps[] = {Op::attn_norm,   Op::qkv,      Op::kv_append, Op::attention,
                            Op::attn_output, Op::ffn_norm, Op::ffn_up,    Op::ffn_down};

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }
double seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }
Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json ops_json(const profile::Breakdown& b, double bandwidth_gb_per_s) {
  Json ops = Json::array();
  for (size_t i = 0; i < kOps; ++i) {
    const auto op = static_cast<Op>(i);
    if (!is_operation(op)) continue;
    const double rate = share(static_cast<double>(b.bytes[i]), b.work_ns[i]);
    const bool reads = b.bytes[i] > 0 && b.work_ns[i] > 0.0;
    ops.push_back({{"name", to_string(op)},
                   {"ns", b.work_ns[i]},
                   {"share", share(b.work_ns[i], b.ns)},
                   {"bytes", b.bytes[i]},
                   {"gb_per_s", reads ? Json(rate) : Json(nullptr)},
                   {"bandwidth_share", reads ? Json(share(rate, bandwidth_gb_per_s)) : Json(nullptr)}});
  }
  return ops;
}

Json other_json(const profile::Breakdown& b) {
  Json other = Json::array();
  const auto add = [&](const char* name, double ns) {
    other.push_back({{"name", name}, {"ns", ns}, {"share", share(ns, b.ns)}});
  };
  add("barriers", b.wait_ns);
  for (size_t i = 0; i < kOps; ++i)
    if (!is_operation(static_cast<Op>(i))) add(to_string(static_cast<Op>(i)), b.work_ns[i]);
  add("profiler", b.profiler_ns);
  add("detokenize", b.detokenize_ns);
  add("callback", b.callback_ns);
  return other;
}

Json workers_json(const profile::Breakdown& b) {
  Json workers = Json::array();
  for (size_t i = 0; i < b.workers.size(); ++i) {
    const profile::WorkerFigures& worker = b.workers[i];
    workers.push_back({{"thread", i},
                       {"busy_ns", worker.busy_ns},
                       {"wait_ns", worker.wait_ns},
                       {"pieces", worker.n_pieces},
                       {"pace", worker.pace}});
  }
  return workers;
}

Json layers_json(const profile::Breakdown& b) {
  Json names = Json::array(), rows = Json::array();
  for (const Op op : kLayerOps) names.push_back(to_string(op));
  for (const std::array<double, kOps>& layer : b.layer_work_ns) {
    Json row = Json::array();
    for (const Op op : kLayerOps) row.push_back(layer[static_cast<size_t>(op)]);
    rows.push_back(std::move(row));
  }
  return {{"ops", std::move(names)}, {"ns", std::move(rows)}};
}

Json token_json(const profile::RunFacts& facts) {
  const profile::DecodeFigures& f = facts.figures;
  return {{"ms_p50", f.ms_p50},
          {"ms_p90", f.ms_p90},
          {"ms_p99", f.ms_p99},
          {"ms_p999", f.ms_p999},
          {"ms_max", f.ms_max},
          {"ms_typical", facts.breakdown.ns / 1e6},
          {"bytes", f.bytes},
          {"gb_per_s", f.gb_per_s},
          {"bandwidth_share", f.bandwidth_share},
          {"tokens_per_s", f.tokens_per_s}};
}

Json prefill_json(const PrefillReport& prefill) {
  const double bandwidth = profile::quantile(prefill.timings.bandwidth, 0.5) / 1e9;
  return {{"n_tokens", prefill.n_tokens},           {"seconds", prefill.seconds()},
          {"tokens_per_s", prefill.tokens_per_s()}, {"ops", ops_json(prefill.breakdown, bandwidth)},
          {"other", other_json(prefill.breakdown)}, {"workers", workers_json(prefill.breakdown)}};
}

Json ttft_json(const PrefillReport& prefill) {
  return {{"ms_p50", prefill.ttft_ms_typical()},
          {"tokenize_ms", prefill.tokenize_ms()},
          {"prefill_ms", prefill.prefill_ms()},
          {"sample_ms", prefill.sample_ms()}};
}

Json slowest_json(const ProfileRun& run) {
  Json slowest = Json::array();
  const size_t n_tokens = run.timings.seconds.size() / static_cast<size_t>(run.n_rounds);
  for (const profile::SlowToken& token : run.slowest)
    slowest.push_back({{"round", token.sample / n_tokens},
                       {"token", token.sample % n_tokens},
                       {"ms", token.ms},
                       {"excess_ms", token.excess_ms},
                       {"reason", token.reason}});
  return slowest;
}

Json span_json(const char* name, int layer, int64_t begin_ns, int64_t end_ns, bool wait) {
  return {{"name", name},
          {"layer", layer},
          {"start_us", static_cast<double>(begin_ns) / 1e3},
          {"us", static_cast<double>(end_ns - begin_ns) / 1e3},
          {"wait", wait}};
}

Json timeline_json(const ProfileRun& run) {
  const profile::RecordedStep& step = run.steps.steps()[run.samples[run.facts.breakdown.middle].first_step];
  if (step.n_ops == 0) return nullptr;
  Json lanes = Json::array();
  for (const profile::RecordedThread& thread : run.steps.threads(step)) {
    Json spans = Json::array();
    for_each_span(run.steps, step, thread,
                  [&](const char* name, int layer, int64_t begin_ns, int64_t end_ns, bool wait) {
                    spans.push_back(span_json(name, layer, begin_ns, end_ns, wait));
                  });
    lanes.push_back({{"thread", lanes.size()}, {"spans", std::move(spans)}});
  }
  return {{"ms", static_cast<double>(step.elapsed_ns) / 1e6}, {"lanes", std::move(lanes)}};
}

Json histogram_json(const std::vector<double>& seconds) {
  LatencyHistogram histogram(kInterTokenBounds);
  for (const double s : seconds) histogram.add(static_cast<int64_t>(s * 1e9));
  return {{"bounds_s", std::vector<double>(histogram.bounds_s().begin(), histogram.bounds_s().end())},
          {"counts", std::vector<int64_t>(histogram.counts().begin(), histogram.counts().end())},
          {"sum_s", histogram.sum_s()}};
}

std::vector<double> scaled(std::vector<double> values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

Json run_json(const ProfileRun& run, const ProfileReport& report) {
  const profile::RunFacts& facts = run.facts;
  const profile::Breakdown& b = facts.breakdown;
  Json json;
  json["threads"] = facts.n_threads;
  json["depth"] = facts.depth;
  json["token"] = token_json(facts);
  json["prefill"] = run.prefill ? prefill_json(*run.prefill) : Json(nullptr);
  json["ttft"] = run.prefill ? ttft_json(*run.prefill) : Json(nullptr);
  json["bandwidth_gb_per_s"] = facts.figures.bandwidth_gb_per_s;
  json["ops"] = ops_json(b, facts.figures.bandwidth_gb_per_s);
  json["other"] = other_json(b);
  json["workers"] = workers_json(b);
  json["layers"] = layers_json(b);
  json["events"] = {{"page_faults", b.n_page_faults},
                    {"major_page_faults", b.n_major_page_faults},
                    {"context_switches", b.n_context_switches},
                    {"involuntary_context_switches", b.n_involuntary_switches}};
  json["counters"] = nullptr;
  if (report.counters_wanted)
    json["counters"] = {{"cycles", or_null(run.counters.cycles)},
                        {"instructions", or_null(run.counters.instructions)},
                        {"cache_misses", or_null(run.counters.cache_misses)},
                        {"tlb_misses", or_null(run.counters.tlb_misses)}};
  json["counters_note"] = report.counters_note.empty() ? Json(nullptr) : Json(report.counters_note);
  json["slowest"] = slowest_json(run);
  json["timeline"] = timeline_json(run);
  json["histogram"] = histogram_json(run.timings.seconds);
  json["itl_ms"] = scaled(run.timings.seconds, 1e3);
  json["ttft_ms"] = run.prefill ? run.prefill->ttft_ms() : std::vector<double>();
  json["bandwidth_rounds_gb_per_s"] = scaled(run.timings.bandwidth, 1e-9);
  json["verdict"] = {{"bound", to_string(run.verdict.bound)}, {"text", run.verdict.text}};
  return json;
}

}  // namespace

std::vector<double> PrefillReport::ttft_ms() const {
  std::vector<double> ms;
  for (size_t i = 0; i < timings.seconds.size(); ++i) ms.push_back((timings.seconds[i] + tokenize_seconds[i]) * 1e3);
  return ms;
}

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
      {"k_type", report.k_type},     {"v_type", report.v_type},           {"isa", report.isa},
      {"numerics", report.numerics}, {"pin_threads", report.pin_threads}, {"prompt_tokens", report.n_prompt_tokens},
      {"n_tokens", report.n_tokens}, {"repeat", report.n_rounds}};
  json["load"] = {{"seconds", report.load.seconds},
                  {"metadata_seconds", seconds(report.load_times.metadata_ns)},
                  {"tokenizer_seconds", seconds(report.load_times.tokenizer_ns)},
                  {"weights_seconds", seconds(report.load_times.weights_ns)},
                  {"weight_bytes", info.file_bytes},
                  {"threads", report.load_times.n_threads},
                  {"mapped", report.load_times.mapped},
                  {"first_token_seconds", report.first_token_seconds},
                  {"cached_share", or_null(report.load.cached_share)},
                  {"disk_bytes", report.load.disk_bytes}};
  json["memory"] = Json::array();
  for (const MemoryOwner& owner : report.memory)
    json["memory"].push_back({{"owner", owner.owner}, {"bytes", owner.bytes}});
  json["runs"] = Json::array();
  for (const ProfileRun& run : report.runs) json["runs"].push_back(run_json(run, report));
  json["verdict"] = report.verdict;
  return json;
}

std::string profile_csv(const ProfileReport& report) {
  const auto quoted = [](std::string text) {
    for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '"');
    return '"' + text + '"';
  };
  std::string csv =
      "decant,cpu,model,numerics,isa,pin_threads,n_tokens,repeat,k_type,v_type,threads,depth,ms_p50,ms_p90,ms_p99,ms_"
      "p999,ms_max,tokens_per_s,bytes,gb_per_s,"
      "bandwidth_gb_per_s,bandwidth_share,prompt_tokens,ttft_ms_p50,prompt_tokens_per_s,load_seconds,bound\n";
  for (const ProfileRun& run : report.runs) {
    const profile::DecodeFigures& f = run.facts.figures;
    csv += detail::format("{},{},{},{},{},{},{},{},", DECANT_VERSION, quoted(report.machine.cpu),
                          quoted(report.model.path), report.numerics, report.isa, report.pin_threads ? 1 : 0,
                          report.n_tokens, report.n_rounds);
    csv += detail::format("{},{},{},{},", report.k_type, report.v_type, run.facts.n_threads, run.facts.depth);
    csv += detail::format("{:.6f},{:.6f},{:.6f},{:.6f},{:.6f},{:.3f},{},{:.3f},{:.3f},{:.4f},", f.ms_p50, f.ms_p90,
                          f.ms_p99, f.ms_p999, f.ms_max, f.tokens_per_s, f.bytes, f.gb_per_s, f.bandwidth_gb_per_s,
                          f.bandwidth_share);
    csv += run.prefill ? detail::format("{},{:.4f},{:.3f},", run.prefill->n_tokens, run.prefill->ttft_ms_typical(),
                                        run.prefill->tokens_per_s())
                       : "0,,,";
    csv += detail::format("{:.4f},{}\n", report.load.seconds, to_string(run.verdict.bound));
  }
  return csv;
}

}  // namespace decant::tools
