// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "engine/profile/token_bytes.h"
#include "tools/args.h"
#include "tools/model_args.h"
#include "tools/output.h"
#include "tools/profile_report.h"
#include "tools/synthetic_model.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFirstPrompt = 8;  ///< tokens of the prompt whose first answer is timed

struct ProfileArgs {
  ModelArgs model;
  std::optional<Synthetic> synthetic;
  std::string synthetic_name;
  std::vector<int32_t> threads, depths = {0};
  std::optional<int> n_tokens = 64, n_prompt_tokens = 512, repeat = 3;
  bool json = false;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status check_room(const std::vector<int32_t>& depths, int n_tokens, int n_ctx) {
  const int deepest = *std::max_element(depths.begin(), depths.end());
  if (int64_t{deepest} + n_tokens + 1 <= n_ctx) return {};
  return Error{ErrorCode::invalid_argument,
               detail::format("{} tokens after a depth of {} don't fit into the model's context of {}", n_tokens,
                              deepest, n_ctx)};
}

EngineOptions engine_options(const ProfileArgs& args, int n_threads, int n_ctx) {
  EngineOptions options = args.model.engine_options();
  options.n_threads = n_threads;
  const int deepest = *std::max_element(args.depths.begin(), args.depths.end());
  options.n_ctx = std::min(n_ctx, deepest + std::max(*args.n_prompt_tokens, *args.n_tokens) + 1);
  return options;
}

/// A short prompt and one token: what a program does that answers one question.
Status first_token(const std::shared_ptr<const Model>& model, const EngineOptions& options, ProfileReport& report,
                   Clock::time_point start) {
  Result<std::unique_ptr<Engine>> engine = Engine::create(model, options);
  if (!engine) return engine.error();
  report.isa = (*engine)->isa();
  Request request;
  for (int i = 0; i < std::min(kFirstPrompt, options.n_ctx - 1); ++i)
    request.prompt.push_back((i + 1) % model->info().vocab_size);
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = 1;
  if (Result<SequenceId> id = (*engine)->submit(std::move(request)); !id) return id.error();
  while ((*engine)->n_sequences() > 0)
    if (Result<StepReport> step = (*engine)->step(); !step) return step.error();
  report.first_token_seconds = seconds_since(start);
  return {};
}

Status profile_runs(const ProfileArgs& args, const std::shared_ptr<const Model>& model, const Interrupts& interrupts,
                    ProfileReport& report) {
  Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
  if (!memory) return memory.error();
  Progress progress("measuring");
  const size_t n_runs = args.threads.size() * args.depths.size();
  for (const int n_threads : args.threads) {
    const EngineOptions options = engine_options(args, n_threads, model->info().n_ctx);
    Result<std::unique_ptr<Engine>> engine = Engine::create(model, options);
    if (!engine) return engine.error();
    for (const int depth : args.depths) {
      progress.update(report.runs.size(), n_runs);
      ProfileRun run;
      run.n_threads = n_threads;
      run.depth = depth;
      profile::Task task;
      task.depth = depth;
      task.n_tokens = *args.n_tokens;
      task.n_rounds = *args.repeat;
      task.stop = interrupts.token();
      Result<profile::Timings> decode = profile::measure_decode(**engine, *memory, task);
      if (!decode) return decode.error();
      run.decode = std::move(*decode);
      run.n_prefill_tokens = task.n_tokens = std::min(*args.n_prompt_tokens, options.n_ctx - depth);
      if (run.n_prefill_tokens > 0) {
        Result<profile::Timings> prefill = profile::measure_prefill(**engine, *memory, task);
        if (!prefill) return prefill.error();
        run.prefill = std::move(*prefill);
      }
      report.runs.push_back(std::move(run));
    }
  }
  return {};
}

Result<ProfileReport> make_report(ProfileArgs& args, const Interrupts& interrupts) {
  std::optional<SyntheticModel> made;
  if (args.synthetic) {
    Result<SyntheticModel> model = SyntheticModel::make(*args.synthetic, interrupts);
    if (!model) return model.error();
    made = std::move(*model);
    args.model.model = made->path();
  }
  const Result<std::string> path = args.model.find_model();
  if (!path) return path.error();
  ProfileReport report;
  {
    const Result<model::ModelDescription> described = model::describe(*path);
    if (!described) return described.error();
    report.weight_bytes = profile::weight_bytes_per_token(*described);
    if (Status room = check_room(args.depths, *args.n_tokens, described->config.n_ctx); !room) return room.error();
  }
  report.machine = profile::describe_machine();
  if (args.threads.empty()) args.threads = {report.machine.n_threads};

  const Clock::time_point start = Clock::now();
  Result<std::shared_ptr<const Model>> model = args.model.open(interrupts);
  if (!model) return model.error();
  report.load_seconds = seconds_since(start);
  report.load_times = (*model)->load_times();
  report.model = (*model)->info();
  if (args.synthetic) report.model.path = args.synthetic_name;
  const EngineOptions options = engine_options(args, args.threads.back(), (*model)->info().n_ctx);
  report.k_type = to_string(options.cache.k_type);
  report.v_type = to_string(options.cache.v_type);
  report.numerics = to_string((*model)->numerics());
  if (Status done = first_token(*model, options, report, start); !done) return done.error();
  if (Status done = profile_runs(args, *model, interrupts, report); !done) return done.error();
  return report;
}

/// A list of numbers within bounds.
Reader numbers(std::vector<int32_t>& out, int low, int high) {
  return [&out, low, high](const std::string& text) -> std::string {
    const std::optional<std::vector<int32_t>> values = parse_ids(text);
    const auto outside = [low, high](int32_t value) { return value < low || value > high; };
    if (!values || values->empty() || std::any_of(values->begin(), values->end(), outside))
      return detail::format("needs whole numbers from {} to {} such as 1,2, not '{}'", low, high, text);
    out = *values;
    return {};
  };
}

}  // namespace

int cmd_profile(const Words& words) {
  Arguments arguments("profile", "Measures how fast tokens come, beside what the memory could deliver.");
  ProfileArgs args;
  args.model.declare_model(arguments);
  arguments.option(
      "--synthetic", "SHAPE:TYPE",
      [&args](const std::string& text) -> std::string {
        Result<Synthetic> synthetic = parse_synthetic(text);
        if (!synthetic) return synthetic.error().message;
        args.synthetic = std::move(*synthetic);
        args.synthetic_name = text;
        return {};
      },
      "Random weights instead of a model, such as llama-1b:q4_0; 'decant help synth' lists shapes and types");
  arguments.option("--threads", "1,2", numbers(args.threads, 1, 1024),
                   "Thread counts to measure (default: the cores this process may use)");
  arguments.option("--depths", "0,4096", numbers(args.depths, 0, 1 << 24),
                   "Tokens that are in the cache when decoding begins (default: 0)");
  arguments.integer("-n", args.n_tokens, 1, 1 << 20, "Tokens to decode in each round (default: 64)");
  arguments.integer("--prompt-tokens", args.n_prompt_tokens, 0, 1 << 20,
                    "Tokens of the prompt that is measured at each depth (default: 512); 0: none");
  arguments.integer("--repeat", args.repeat, 1, 1000, "Rounds of each measurement (default: 3)");
  args.model.declare_computation(arguments);
  arguments.flag("--json", args.json, "One line of JSON");
  arguments.note(
      "Before each round memory is read by as many threads; 'share' is what a token read of that. A context of a\n"
      "depth is made of random keys and values, not computed; the prompt that is measured follows it.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (args.model.model && args.synthetic) return usage_error("profile", "-m and --synthetic can't both be given");

  const Interrupts interrupts;
  const Result<ProfileReport> report = make_report(args, interrupts);
  if (!report) return fail("profile", report.error(), interrupts);
  Output out;
  out.write(args.json
                ? profile_json(*report).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n"
                : profile_table(*report));
  return out.status("profile");
}

}  // namespace decant::tools
