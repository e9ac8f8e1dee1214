// SPDX-License-Identifier: Apache-2.0
#include "tools/profile_run.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include <unistd.h>

#include "decant/detail/format.h"
#include "decant/text_stream.h"

#include "engine/profile/page_cache.h"
#include "engine/profile/token_bytes.h"

namespace decant::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFirstPrompt = 8;                     ///< tokens of the prompt whose first answer is timed
constexpr int kDefaultPrompt = 512;                 ///< tokens, where the model's context holds them
constexpr size_t kDetailBytes = size_t{256} << 20;  ///< of steps that are kept in full, all runs together
constexpr size_t kSlowTokens = 5;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
int64_t ns_of(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}
int64_t ns_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

size_t last_level_cache(const profile::Machine& machine) {
  const profile::CpuCache* last = nullptr;
  for (const profile::CpuCache& cache : machine.caches)
    if (last == nullptr || cache.level > last->level) last = &cache;
  return last == nullptr ? 0 : last->size_bytes;
}

/// Bytes of the process that are in memory.
size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

/// Adds now - before to each counter that both have.
void add_difference(profile::CounterValues& sum, const profile::CounterValues& now,
                    const profile::CounterValues& before) {
  for (const auto counter : {&profile::CounterValues::cycles, &profile::CounterValues::instructions,
                             &profile::CounterValues::cache_misses, &profile::CounterValues::tlb_misses})
    if (now.*counter && before.*counter)
      sum.*counter = (sum.*counter).value_or(0.0) + *(now.*counter) - *(before.*counter);
}

/// A program that streams: what it does with a step's tokens, and where steps are taken down.
class Streaming {
 public:
  Streaming(const Model& model, const std::optional<std::string>& prompt) : prompt_(prompt) {
    const Result<const Tokenizer*> tokenizer = model.tokenizer();
    if (tokenizer) tokenizer_ = *tokenizer;
  }

  StepObserver observer() {
    return [this](const StepProfile& step) {
      if (recording_ != nullptr) recording_->add(step);
    };
  }

  /// Steps of what is measured next go to `recording`.
  void record(profile::Recording& recording, profile::Task& task, std::vector<double>* tokenize_seconds = nullptr) {
    recording_ = &recording;
    task.begin_round = [this, &task, tokenize_seconds](int round) {
      if (tokenize_seconds != nullptr) tokenize_seconds->push_back(tokenize(task));
      if (tokenizer_ != nullptr) text_.emplace(*tokenizer_, std::span<const int32_t>(), std::vector<std::string>());
      recording_->begin_round(round);
    };
    task.end_round = [this] { recording_->end_round(); };
    task.consume = [this](const StepReport& report) { consume(report); };
  }
  void stop() { recording_ = nullptr; }

 private:
  /// Seconds for the prompt's text: what was given, or the text of made-up ids.
  double tokenize(const profile::Task& task) {
    if (tokenizer_ == nullptr) return 0.0;
    if (prompt_text_.empty()) prompt_text_ = prompt_ ? *prompt_ : made_up_text(task.n_tokens);
    const Clock::time_point start = Clock::now();
    const auto ids = tokenizer_->encode(prompt_text_);
    return ids ? seconds_since(start) : 0.0;
  }

  std::string made_up_text(int n_tokens) const {
    std::vector<int32_t> ids;
    for (int i = 0; i < n_tokens; ++i)
      ids.push_back(static_cast<int32_t>(int64_t{i + 1} * 7919 % tokenizer_->vocab_size()));
    return tokenizer_->decode(ids);
  }

  void consume(const StepReport& report) {
    const Clock::time_point start = Clock::now();
    const int64_t profiler_ns = recording_ != nullptr ? ns_of(start) - recording_->end_ns() : 0;
    std::string_view piece;
    for (const Piece& event : report.pieces)
      if (text_ && event.token_id >= 0) piece = text_->push(event.token_id);
    const int64_t detokenize_ns = ns_since(start);
    callback(piece);
    if (recording_ != nullptr) recording_->add_program(profiler_ns, detokenize_ns, ns_since(start) - detokenize_ns);
  }

  /// Where a program would hand the text on.
  void callback(std::string_view piece) { n_bytes_ += piece.size(); }

  const std::optional<std::string>& prompt_;
  std::string prompt_text_;
  const Tokenizer* tokenizer_ = nullptr;
  std::optional<TextStream> text_;
  profile::Recording* recording_ = nullptr;
  size_t n_bytes_ = 0;
};

/// Everything that the measuring of one model shares.
class Measuring {
 public:
  Measuring(ProfileTask& task, const Interrupts& interrupts) : task_(task), interrupts_(interrupts) {}

  Result<ProfileReport> run() {
    if (Status opened = open(); !opened) return opened.error();
    if (Status done = first_token(); !done) return done.error();
    if (Status done = runs(); !done) return done.error();
    std::vector<profile::RunFacts> facts;
    for (const ProfileRun& run : report_.runs) facts.push_back(run.facts);
    report_.verdict = profile::overall_verdict(report_.load, facts);
    return std::move(report_);
  }

 private:
  Status open();
  Status resolve_prompt();
  Status check_room() const;
  EngineOptions options(int n_threads) const;
  size_t n_runs() const { return task_.threads.size() * task_.depths.size(); }
  /// Of a recording; each run has two.
  size_t detail_bytes() const { return kDetailBytes / n_runs() / 2; }
  Status first_token();
  Status runs();
  Status one_run(Engine& engine, profile::ReadBandwidth& memory, const profile::PerfCounters* counters,
                 Streaming& streaming, ProfileRun& run);
  Status prefill(Engine& engine, profile::ReadBandwidth& memory, Streaming& streaming, ProfileRun& run);
  void note_memory(const Engine& engine, size_t bandwidth_bytes);

  ProfileTask& task_;
  const Interrupts& interrupts_;
  ProfileReport report_;
  std::optional<SyntheticModel> made_;
  std::shared_ptr<const Model> model_;
  std::vector<int32_t> prompt_ids_;
  Clock::time_point start_;
  size_t most_cache_bytes_ = 0;
};

Status Measuring::open() {
  if (task_.synthetic) {
    Result<SyntheticModel> model = SyntheticModel::make(*task_.synthetic, interrupts_);
    if (!model) return model.error();
    made_ = std::move(*model);
    task_.model.model = made_->path();
  }
  const Result<std::string> path = task_.model.find_model();
  if (!path) return path.error();
  report_.machine = profile::describe_machine();
  if (task_.threads.empty()) task_.threads = {report_.machine.n_threads};
  const std::vector<std::string> files = profile::weight_files(*path);
  report_.load.cached_share = profile::cached_share(files);
  const uint64_t disk_bytes = profile::disk_bytes_read();
  start_ = Clock::now();
  Result<std::shared_ptr<const Model>> model = task_.model.open(interrupts_);
  if (!model) return model.error();
  model_ = std::move(*model);
  report_.load.seconds = seconds_since(start_);
  report_.load.disk_bytes = static_cast<size_t>(profile::disk_bytes_read() - disk_bytes);
  report_.load.bytes = model_->info().file_bytes;
  report_.load_times = model_->load_times();
  report_.model = model_->info();
  if (task_.synthetic) report_.model.path = task_.synthetic_name;
  report_.weight_bytes = profile::weight_bytes_per_token(*model_);
  report_.numerics = to_string(model_->numerics());
  report_.n_tokens = *task_.n_tokens;
  report_.n_rounds = *task_.repeat;
  report_.counters_wanted = task_.counters;
  if (Status resolved = resolve_prompt(); !resolved) return resolved;
  return check_room();
}

Status Measuring::resolve_prompt() {
  const int deepest = *std::max_element(task_.depths.begin(), task_.depths.end());
  const int room = std::max(model_->info().n_ctx - deepest - 1, 0);
  if (task_.prompt) {
    Result<std::vector<int32_t>> ids = prompt_ids(*model_, std::nullopt, *task_.prompt);
    if (!ids) return ids.error();
    if (ids->empty()) return Error{ErrorCode::invalid_argument, "the prompt has no tokens"};
    prompt_ids_ = std::move(*ids);
    report_.n_prompt_tokens = static_cast<int>(prompt_ids_.size());
  } else {
    report_.n_prompt_tokens = task_.n_prompt_tokens ? *task_.n_prompt_tokens : std::min(kDefaultPrompt, room);
  }
  return {};
}

Status Measuring::check_room() const {
  const int deepest = *std::max_element(task_.depths.begin(), task_.depths.end());
  const int n = std::max(*task_.n_tokens, report_.n_prompt_tokens), n_ctx = model_->info().n_ctx;
  if (int64_t{deepest} + n + 1 <= n_ctx) return {};
  return Error{
      ErrorCode::invalid_argument,
      detail::format("{} tokens after a depth of {} don't fit into the model's context of {}", n, deepest, n_ctx)};
}

EngineOptions Measuring::options(int n_threads) const {
  EngineOptions options = task_.model.engine_options();
  options.n_threads = n_threads;
  const int deepest = *std::max_element(task_.depths.begin(), task_.depths.end());
  options.n_ctx = deepest + std::max(report_.n_prompt_tokens, *task_.n_tokens) + 1;
  options.max_sequences = 2;       // one holds the cache's memory from round to round
  options.cache.prefix_bytes = 0;  // a prompt is computed in every round
  return options;
}

/// A short prompt and one token: what a program does that answers one question.
Status Measuring::first_token() {
  const EngineOptions options = this->options(task_.threads.back());
  report_.k_type = to_string(options.cache.k_type);
  report_.v_type = to_string(options.cache.v_type);
  report_.pin_threads = options.pin_threads;
  Result<std::unique_ptr<Engine>> engine = Engine::create(model_, options);
  if (!engine) return engine.error();
  report_.isa = (*engine)->isa();
  Request request;
  for (int i = 0; i < std::min(kFirstPrompt, options.n_ctx - 1); ++i)
    request.prompt.push_back((i + 1) % model_->info().vocab_size);
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = 1;
  if (Result<SequenceId> id = (*engine)->submit(std::move(request)); !id) return id.error();
  while ((*engine)->n_sequences() > 0)
    if (Result<StepReport> step = (*engine)->step(); !step) return step.error();
  report_.first_token_seconds = seconds_since(start_);
  return {};
}

Status Measuring::runs() {
  Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
  if (!memory) return memory.error();
  Progress progress("measuring");
  const auto n_decoded = static_cast<size_t>(*task_.n_tokens) * static_cast<size_t>(*task_.repeat);
  for (const int n_threads : task_.threads) {
    // Before the engine makes its threads, which count with it.
    std::optional<profile::PerfCounters> counters;
    if (task_.counters) {
      counters = profile::PerfCounters::open();
      report_.counters_note = counters->note();
    }
    Streaming streaming(*model_, task_.prompt);
    EngineOptions options = this->options(n_threads);
    options.on_step = streaming.observer();
    Result<std::unique_ptr<Engine>> engine = Engine::create(model_, options);
    if (!engine) return engine.error();
    for (const int depth : task_.depths) {
      progress.update(report_.runs.size(), n_runs());
      ProfileRun run;
      run.facts.n_threads = n_threads;
      run.facts.depth = depth;
      run.steps = profile::Recording(n_decoded, detail_bytes());
      if (Status done = one_run(**engine, *memory, counters ? &*counters : nullptr, streaming, run); !done) return done;
      if (report_.n_prompt_tokens > 0)
        if (Status done = prefill(**engine, *memory, streaming, run); !done) return done;
      run.verdict = profile::verdict_of(run.facts);
      report_.runs.push_back(std::move(run));
    }
  }
  return {};
}

Status Measuring::one_run(Engine& engine, profile::ReadBandwidth& memory, const profile::PerfCounters* counters,
                          Streaming& streaming, ProfileRun& run) {
  profile::Task task;
  task.depth = run.facts.depth;
  task.n_tokens = *task_.n_tokens;
  task.n_rounds = run.n_rounds = *task_.repeat;
  task.stop = interrupts_.token();
  streaming.record(run.steps, task);
  task.begin_round = [&, begin = task.begin_round](int round) {
    if (round == 0) note_memory(engine, memory.size_bytes());
    begin(round);
  };
  profile::CounterValues counted, before;
  if (counters != nullptr) {
    task.begin_round = [&, begin = task.begin_round](int round) {
      begin(round);
      before = counters->read();
    };
    task.end_round = [&, end = task.end_round] {
      add_difference(counted, counters->read(), before);
      end();
    };
  }
  Result<profile::Timings> decode = profile::measure_decode(engine, memory, task);
  streaming.stop();
  if (!decode) return decode.error();
  run.timings = std::move(*decode);
  const auto n_tokens = static_cast<double>(task.n_tokens) * task.n_rounds;
  for (std::optional<double>* const count :
       {&counted.cycles, &counted.instructions, &counted.cache_misses, &counted.tlb_misses})
    if (*count) **count /= n_tokens;
  run.counters = counted;

  run.facts.figures = profile::decode_figures(run.timings, report_.weight_bytes);
  run.samples = profile::samples_of_steps(run.steps, run.timings.seconds);
  run.facts.breakdown = profile::break_down(run.steps, run.samples);
  run.facts.last_level_cache = last_level_cache(report_.machine);
  run.facts.n_cpus = report_.machine.n_threads;
  const EngineOptions options = task_.model.engine_options();
  run.facts.kv_is_wide = options.cache.k_type <= KvType::bf16 && options.cache.v_type <= KvType::bf16;
  run.slowest = profile::slowest_tokens(run.steps, run.samples, run.facts.breakdown, kSlowTokens);
  std::erase_if(run.slowest, [&](const profile::SlowToken& token) {
    return token.excess_ms * 1e6 <= profile::kUsualExcess * run.facts.breakdown.ns;
  });
  return {};
}

Status Measuring::prefill(Engine& engine, profile::ReadBandwidth& memory, Streaming& streaming, ProfileRun& run) {
  PrefillReport& prefill = run.prefill.emplace();
  prefill.n_tokens = report_.n_prompt_tokens;
  const auto n_steps =
      static_cast<size_t>(prefill.n_tokens) / static_cast<size_t>(task_.model.engine_options().max_step_tokens) + 1;
  prefill.steps = profile::Recording(n_steps * static_cast<size_t>(*task_.repeat), detail_bytes());
  profile::Task task;
  task.depth = run.facts.depth;
  task.n_tokens = prefill.n_tokens;
  task.prompt = prompt_ids_;
  task.n_rounds = *task_.repeat;
  task.stop = interrupts_.token();
  streaming.record(prefill.steps, task, &prefill.tokenize_seconds);
  task.consume = [&, consume = task.consume](const StepReport& report) {
    consume(report);
    if (!report.pieces.empty()) note_memory(engine, memory.size_bytes());
  };
  Result<profile::Timings> timings = profile::measure_prefill(engine, memory, task);
  streaming.stop();
  if (!timings) return timings.error();
  prefill.timings = std::move(*timings);
  prefill.samples = profile::samples_of_rounds(prefill.steps, prefill.timings.seconds);
  // The round in the middle: few rounds have no middle half to speak of, and its parts add up to prefill.seconds().
  const double middle_ns = profile::quantile(prefill.timings.seconds, 0.5) * 1e9;
  const auto round = std::min_element(prefill.samples.begin(), prefill.samples.end(),
                                      [&](const profile::Sample& a, const profile::Sample& b) {
                                        return std::abs(a.ns - middle_ns) < std::abs(b.ns - middle_ns);
                                      });
  prefill.breakdown = profile::break_down(prefill.steps, {&*round, 1});
  prefill.middle_round = static_cast<size_t>(round - prefill.samples.begin());
  return {};
}

/// Of the run that holds the most in its cache.
void Measuring::note_memory(const Engine& engine, size_t bandwidth_bytes) {
  const MemoryStats stats = engine.memory_stats();
  if (!report_.memory.empty() && stats.cache_bytes <= most_cache_bytes_) return;
  most_cache_bytes_ = stats.cache_bytes;
  report_.memory = {{"weights", stats.weights_bytes},
                    {"kv cache", stats.cache_bytes},
                    {"activations", stats.activation_bytes},
                    {"attention", stats.attention_bytes},
                    {"logits", stats.logits_bytes},
                    {"sampler", stats.sampler_bytes},
                    {"bandwidth measurement", bandwidth_bytes}};
  size_t named = 0;
  for (const MemoryOwner& owner : report_.memory) named += owner.bytes;
  const size_t resident = resident_bytes();
  report_.memory.push_back({"everything else", resident > named ? resident - named : 0});
}

}  // namespace

Result<ProfileReport> measure_profile(ProfileTask task, const Interrupts& interrupts) {
  return Measuring(task, interrupts).run();
}

}  // namespace decant::tools
