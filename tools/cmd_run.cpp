// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <chrono>
#include <random>
#include <string>
#include <utility>

#include <unistd.h>

#include "decant/detail/format.h"

#include "tools/args.h"
#include "tools/cache_view.h"
#include "tools/generation_log.h"
#include "tools/load_report.h"
#include "tools/model_args.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/terminal.h"
#include "tools/token_printer.h"

namespace decant::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWindowSlack = 128;  // tokens that an endless text keeps beyond its window and sinks, see Request

struct RunArgs {
  ModelArgs model;
  std::optional<std::string> prompt;
  std::optional<std::vector<int32_t>> ids;
  std::optional<int> n_tokens, n_ctx;
  std::optional<float> temperature, top_p, min_p, typical_p, repeat_penalty;
  std::optional<int> top_k, no_repeat_ngram;
  std::optional<uint64_t> seed;
  std::vector<std::string> stops;
  std::optional<std::string> session;
  std::optional<int> window;
  bool json = false, verbose = false;

  void declare(Arguments& arguments);
};

void RunArgs::declare(Arguments& arguments) {
  arguments.text("PROMPT", "", prompt,
                 "Text to continue; without it, or as -, standard input (less one newline at its end)");
  model.declare_model(arguments);
  arguments.integer("-n", n_tokens, 0, kAnyHigh,
                    "Tokens to generate at most (default: until the text or the context ends)");
  arguments.number("--temp", temperature, {0, 1e30}, "Temperature; 0 is greedy");
  arguments.integer("--top-k", top_k, 0, kAnyHigh, "Keep the k likeliest tokens; 0: all");
  arguments.number("--top-p", top_p, {0, 1, true}, "Keep the likeliest tokens whose sum exceeds p; 1: all");
  arguments.number("--min-p", min_p, {0, 1}, "Drop tokens below p times the likeliest; 0: none");
  arguments.number("--typical-p", typical_p, {0, 1, true}, "Keep the tokens nearest to the expected surprise; 1: all");
  arguments.number("--repeat-penalty", repeat_penalty, {0, 1e30, true}, "Penalty on tokens already seen; 1: none");
  arguments.integer("--no-repeat-ngram", no_repeat_ngram, 0, kAnyHigh, "Never repeat a run of N tokens; 0: off");
  arguments.option(
      "--seed", "S",
      [this](const std::string& text) -> std::string {
        uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size())
          return detail::format("needs a whole number from 0 to 2^64 - 1, not '{}'", text);
        seed = value;
        return {};
      },
      "Same seed, same text (default: another one each time, shown at the end)");
  arguments.texts("--stop", "STR", stops, "End before this text; may be given several times");
  arguments.ids("--ids", ids, "Token ids instead of PROMPT");
  arguments.integer("--ctx", n_ctx, 1, kAnyHigh,
                    "Longest text in tokens, prompt included (default: the model's limit)");
  arguments.option(
      "--session", "FILE",
      [this](const std::string& text) -> std::string {
        session = text;
        return text.empty() ? "needs the name of a file" : "";
      },
      "Keep the text in FILE, and go on with it if FILE is there already (see below)");
  arguments.integer("--window", window, 1, kAnyHigh,
                    "A text without end: keep its first 4 tokens and at least the last N, forget the rest");
  model.declare_engine(arguments);
  arguments.flag("--json", json, "JSON Lines: one a token, then one about the whole");
  arguments.flag("--verbose", verbose, "Show at the end where loading's time went and what the KV cache held");
  arguments.note(
      "Sampling options that are not given are the model's own, where it has any, else plain sampling at\n"
      "temperature 1. Ctrl-C stops within a token.\n\n"
      "A session keeps the text, its KV cache and the sampling options, also when Ctrl-C or an error ends the run.\n"
      "The next run with FILE goes on to the same tokens as if it had never stopped. PROMPT is added to the text\n"
      "first, without a begin token; an empty one (\"\") adds nothing. What ended a run (a --stop STR, the model's\n"
      "end token) is part of the text. Sampling options, --window, --kv-type and --numerics are those of the\n"
      "session and need not be given again; the model must be. 'decant cache inspect FILE' shows what FILE holds.");
}

/// What the model asks for.
SamplingParams sampling(const GenerationDefaults& defaults) {
  SamplingParams params;
  params.temperature = defaults.temperature.value_or(params.temperature);
  if (!defaults.do_sample.value_or(true)) params.temperature = 0.0F;
  params.top_k = defaults.top_k.value_or(params.top_k);
  params.top_p = defaults.top_p.value_or(params.top_p);
  params.min_p = defaults.min_p.value_or(params.min_p);
  params.typical_p = defaults.typical_p.value_or(params.typical_p);
  params.repetition_penalty = defaults.repetition_penalty.value_or(params.repetition_penalty);
  params.no_repeat_ngram_size = defaults.no_repeat_ngram_size.value_or(params.no_repeat_ngram_size);
  std::random_device random;
  params.seed = random();  // 32 bits: short enough to type again
  return params;
}

/// The same with what the command line says instead.
SamplingParams with_args(SamplingParams params, const RunArgs& args) {
  params.temperature = args.temperature.value_or(params.temperature);
  params.top_k = args.top_k.value_or(params.top_k);
  params.top_p = args.top_p.value_or(params.top_p);
  params.min_p = args.min_p.value_or(params.min_p);
  params.typical_p = args.typical_p.value_or(params.typical_p);
  params.repetition_penalty = args.repeat_penalty.value_or(params.repetition_penalty);
  params.no_repeat_ngram_size = args.no_repeat_ngram.value_or(params.no_repeat_ngram_size);
  params.seed = args.seed.value_or(params.seed);
  return params;
}

/// A run, from the arguments to the closing line.
class Run {
 public:
  explicit Run(RunArgs args) : args_(std::move(args)) {}

  int operator()();

 private:
  Status prepare();
  Status open_session();
  Status check_window() const;
  Result<std::string> read_prompt();
  Status begin(const std::string& text);
  Status resume(const std::string& text);
  Status generate();
  Status save();
  void take(const Piece& event, double t_ms);
  int end(FinishReason finish);

  RunArgs args_;
  Interrupts interrupts_;
  Output out_;
  GenerationLog log_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  std::optional<Session> session_;  ///< what is there already
  std::optional<SequenceId> sequence_;
  SamplingParams sampling_;
  bool seed_is_known_ = false;  ///< it was given, or is saved
  bool wrong_usage_ = false;
  FinishReason finish_ = FinishReason::none;
  std::optional<TokenPrinter> printer_;
};

int Run::operator()() {
  Status done = prepare();
  if (done) done = generate();
  const Status saved = save();
  if (done && saved) return end(finish_);
  if (done) {
    end(finish_);
    return fail("run", saved.error());
  }
  if (!saved) tell("run", saved.error().message);
  if (interrupts_.stopped()) return end(FinishReason::cancelled);
  if (wrong_usage_) return usage_error("run", done.error().message);
  if (log_.n_generated() > 0 || sequence_) end(FinishReason::error);
  Error error = done.error();
  if (error.code == ErrorCode::cache_full) error.message += "; give more with --cache-bytes";
  return fail("run", error);
}

Status Run::prepare() {
  if (Status opened = open_session(); !opened) return opened;
  Result<std::string> text = read_prompt();
  if (!text) return text.error();
  Result<std::shared_ptr<const Model>> model = args_.model.open(interrupts_);
  if (!model) return model.error();
  model_ = std::move(model).value();

  EngineOptions options = args_.model.engine_options();
  options.n_ctx = args_.n_ctx.value_or(0);
  if (const int limit = model_->info().n_ctx; options.n_ctx > limit)
    return Error{
        ErrorCode::invalid_argument,
        detail::format("--ctx {} is more than the {} tokens that the model was made for", options.n_ctx, limit)};
  Result<std::unique_ptr<Engine>> engine = Engine::create(model_, options);
  if (!engine) return engine.error();
  engine_ = std::move(engine).value();
  if (Status fits = check_window(); !fits) return fits;

  const Result<const Tokenizer*> tokenizer = model_->tokenizer();
  if (!tokenizer && !args_.stops.empty())
    return Error{ErrorCode::unsupported, detail::format("--stop needs a tokenizer: {}", tokenizer.error().message)};
  if (Status started = session_ ? resume(*text) : begin(*text); !started) return started;

  if (!tokenizer) tell("run", detail::format("note: ids are shown instead of text: {}", tokenizer.error().message));
  if (model_->info().has_chat_template)
    tell("run", "note: this model has a chat template; the prompt goes to it as it is, without the template");
  const Result<SequenceInfo> info = engine_->info(*sequence_);
  if (!info) return info.error();
  printer_.emplace(out_, tokenizer ? *tokenizer : nullptr, info->ids, /*resumed=*/session_.has_value(), args_.stops,
                   args_.json);
  return {};
}

// Before the model is opened and the prompt is read: what is wrong with the file is said at once.
Status Run::open_session() {
  if (!args_.session) return {};
  Result<std::optional<Session>> found = find_session(*args_.session);
  if (!found) return found.error();
  session_ = std::move(*found);
  if (!session_) return {};
  if (const int window = session_->recent_window; args_.window && *args_.window != window)
    return Error{ErrorCode::invalid_argument,
                 detail::format("{}: begun {}; --window cannot be changed later", *args_.session,
                                window > 0 ? detail::format("with --window {}", window) : "without --window")};
  args_.model.take_from(*session_);
  return {};
}

// The engine's own check speaks of an option of its own.
Status Run::check_window() const {
  const int window = session_ ? session_->recent_window : args_.window.value_or(0);
  const int64_t needed = int64_t{window} + Request().n_sinks + kWindowSlack;
  if (window == 0 || needed <= engine_->n_ctx()) return {};
  return Error{ErrorCode::invalid_argument,
               detail::format("--window {} needs a context of {} tokens; {} has {}", window, needed,
                              args_.n_ctx ? "--ctx" : "the model", engine_->n_ctx())};
}

Result<std::string> Run::read_prompt() {
  std::string text = args_.prompt.value_or("");
  const bool from_input = !args_.ids && (args_.prompt ? text == "-" : !standard_input_is_terminal());
  if (!from_input) return text;
  Result<std::string> input = read_standard_input(interrupts_.fd());
  if (!input) return input.error();
  text = std::move(input).value();
  if (!text.empty() && text.back() == '\n') text.pop_back();  // the shell's, not the writer's
  return text;
}

Status Run::begin(const std::string& text) {
  Result<std::vector<int32_t>> ids = prompt_ids(*model_, args_.ids, text);
  if (!ids) return ids.error();
  if (ids->empty()) {
    wrong_usage_ = true;
    return Error{ErrorCode::invalid_argument, "the prompt is empty, and this model has no begin token to start from"};
  }
  if (Status fits = check_fits(ids->size(), *engine_); !fits) return fits;
  Request request;
  request.prompt = std::move(ids).value();
  request.sampling = sampling_ = with_args(sampling(model_->generation_defaults()), args_);
  seed_is_known_ = args_.seed.has_value();
  request.max_new_tokens = args_.n_tokens.value_or(-1);
  request.keep = true;
  request.detokenize = false;  // the printer does, which goes on where a session broke off
  request.recent_window = args_.window.value_or(0);
  log_ = GenerationLog(static_cast<int>(request.prompt.size()), args_.session ? std::optional(0) : std::nullopt);
  Result<SequenceId> sequence = engine_->submit(std::move(request));
  if (!sequence) return sequence.error();
  sequence_ = *sequence;
  return {};
}

// The text of the session, the prompt's tokens (none for an empty prompt), and on.
Status Run::resume(const std::string& text) {
  std::vector<int32_t> ids;
  if (args_.ids || !text.empty()) {
    Result<std::vector<int32_t>> added = prompt_ids(*model_, args_.ids, text, /*add_special=*/false);
    if (!added) return added.error();
    ids = std::move(added).value();
  }
  const int64_t n_tokens = session_->n_tokens + static_cast<int64_t>(ids.size());
  if (session_->recent_window == 0 && n_tokens > engine_->n_ctx())
    return Error{ErrorCode::invalid_argument,
                 detail::format("{}: {} tokens{}; the context holds {}{}", *args_.session, session_->n_tokens,
                                ids.empty() ? "" : detail::format(" and {} of the prompt", ids.size()),
                                engine_->n_ctx(), engine_->n_ctx() < model_->info().n_ctx ? "; raise --ctx" : "")};
  Result<SequenceId> sequence = engine_->restore(*args_.session);
  if (!sequence) return sequence.error();
  const Result<SequenceInfo> info = engine_->info(*sequence);
  if (!info) return info.error();
  sampling_ = with_args(info->sampling, args_);
  if (Status set = engine_->set_sampling(*sequence, sampling_); !set) return set;
  if (Status extended = engine_->extend(*sequence, ids, args_.n_tokens.value_or(-1)); !extended) return extended;
  sequence_ = *sequence;
  if (session_->recent_window == 0 && n_tokens == engine_->n_ctx() && args_.n_tokens != 0)
    tell("run", detail::format("note: the context of {} tokens is full; no token can follow", engine_->n_ctx()));
  seed_is_known_ = true;
  log_ = GenerationLog(static_cast<int>(ids.size()), info->n_tokens);
  return {};
}

Status Run::generate() {
  const Clock::time_point start = Clock::now();
  while (finish_ == FinishReason::none) {
    if (out_.closed() || out_.failed()) {
      finish_ = FinishReason::cancelled;
      break;
    }
    const Result<StepReport> report = engine_->step(interrupts_.token());
    if (!report) {
      if (report.error().code != ErrorCode::cancelled) return report.error();
      finish_ = FinishReason::cancelled;
      break;
    }
    const double t_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    for (const Piece& event : report->pieces) take(event, t_ms);
  }
  return {};
}

// Whatever ended the run, the text is as it was after the last whole step.
Status Run::save() {
  if (!args_.session || !sequence_) return {};
  return engine_->save(*sequence_, *args_.session);
}

void Run::take(const Piece& event, double t_ms) {
  if (event.token_id >= 0) {
    log_.token(t_ms);
    printer_->token(event, t_ms);
  }
  finish_ = printer_->stopped() ? FinishReason::stop : event.finish;
}

int Run::end(FinishReason finish) {
  if (printer_) printer_->finish(/*goes_on=*/args_.session.has_value());
  const bool drawn = sampling_.temperature > 0.0F && log_.n_generated() > 0;
  if (args_.json) {
    out_.write(log_.closing_json(finish));
    if (drawn && !seed_is_known_ && !out_.closed())
      tell("run", detail::format("note: --seed {} repeats this text", sampling_.seed));
  } else if (!out_.closed() && !out_.failed() && finish != FinishReason::error) {
    const std::string closing = log_.closing_text(finish, drawn ? std::optional(sampling_.seed) : std::nullopt);
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, closing.data(), closing.size());
  }
  if (args_.verbose && engine_) {
    const std::string drawing = load_line(*model_) + draw_cache(engine_->cache_stats());
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, drawing.data(), drawing.size());
  }
  const int written = out_.status("run");
  if (written != kExitOk) return written;
  return interrupts_.stopped() ? interrupts_.exit_status() : kExitOk;
}

}  // namespace

int cmd_run(const Words& words) {
  Arguments arguments("run", "Streams text that continues a prompt.");
  RunArgs args;
  args.declare(arguments);
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (args.ids && args.prompt) return usage_error("run", "both PROMPT and --ids are given; one of them is the prompt");
  return Run(std::move(args))();
}

}  // namespace decant::tools
