// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "tools/args.h"
#include "tools/model_args.h"
#include "tools/output.h"
#include "tools/prefill.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

struct EvalArgs {
  ModelArgs model;
  std::optional<std::string> file;
  std::optional<int> window;
  bool json = false, kl = false;

  EvalArgs() { model.default_kv_type = KvType::f32; }
};

struct Measured {
  double nats = 0.0;  ///< negative log-likelihood of all predicted tokens
  size_t n_tokens = 0;
  size_t n_bytes = 0;
  int window = 0;
  std::optional<double> kl_nats;  ///< sum over all predictions of KL(with an f32 cache ‖ with this one)
};

/// log Σ exp(logit), in float64.
double log_sum_exp(std::span<const float> logits) {
  const double greatest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - greatest);
  return greatest + std::log(sum);
}

/// -log softmax(logits)[id]
double surprise(std::span<const float> logits, int32_t id) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

/// Σ softmax(base) · (log softmax(base) − log softmax(other))
double divergence(std::span<const float> base, std::span<const float> other) {
  const double base_norm = log_sum_exp(base), other_norm = log_sum_exp(other);
  double sum = 0.0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_p = static_cast<double>(base[i]) - base_norm;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(other[i]) - other_norm));
  }
  return sum;
}

/// Predictions of one piece, and beside them those of the same model with an f32 cache, if that is given.
Status measure_piece(Engine& engine, Engine* base, const std::vector<int32_t>& piece, const Interrupts& interrupts,
                     Measured& measured) {
  const std::vector<int32_t> input(piece.begin(), piece.end() - 1);
  Prefill ours(engine);
  std::optional<Prefill> theirs;
  if (Status begun = ours.begin(input); !begun) return begun;
  if (base != nullptr) {
    theirs.emplace(*base);
    if (Status begun = theirs->begin(input); !begun) return begun;
  }
  std::vector<float> base_rows;  // of the chunk at hand
  while (!ours.ended()) {
    base_rows.clear();
    if (theirs) {
      const Status done = theirs->step(interrupts, [&](int, std::span<const float> logits) {
        base_rows.insert(base_rows.end(), logits.begin(), logits.end());
        return Status();
      });
      if (!done) return done;
    }
    size_t row = 0;
    const Status done = ours.step(interrupts, [&](int pos, std::span<const float> logits) {
      measured.nats += surprise(logits, piece[static_cast<size_t>(pos) + 1]);
      ++measured.n_tokens;
      if (theirs)
        *measured.kl_nats += divergence(std::span(base_rows).subspan(row++ * logits.size(), logits.size()), logits);
      return Status();
    });
    if (!done) return done;
  }
  return {};
}

/// The begin token that the model puts before a text, if it has one.
Result<std::vector<int32_t>> begin_token(const Tokenizer& tokenizer) {
  Result<std::vector<int32_t>> ids = tokenizer.encode("");
  if (ids && ids->size() > 1) return std::vector<int32_t>{ids->front()};
  return ids;
}

/// The whole text without special tokens, cut into pieces of window - 1 tokens, each predicted after one begin token.
/// A model without one predicts from the piece's first token on.
Result<Measured> measure(const EvalArgs& args, const Interrupts& interrupts) {
  const Result<std::string> text = read_text_file(*args.file, interrupts.fd());
  if (!text) return text.error();
  const Result<std::shared_ptr<const Model>> model = args.model.open(interrupts);
  if (!model) return model.error();
  const Result<const Tokenizer*> tokenizer = (*model)->tokenizer();
  if (!tokenizer) return tokenizer.error();
  const Result<std::vector<int32_t>> ids = (*tokenizer)->encode(*text, {.add_special = false});
  if (!ids) return ids.error();
  const Result<std::vector<int32_t>> begin = begin_token(**tokenizer);
  if (!begin) return begin.error();
  const int vocab_size = (*model)->info().vocab_size;
  if (const Status known = check_ids(*ids, vocab_size); !known) return known.error();

  const int n_ctx = (*model)->info().n_ctx;
  Measured measured{.n_bytes = text->size(), .window = args.window.value_or(n_ctx), .kl_nats = {}};
  if (measured.window > n_ctx)
    return Error{ErrorCode::invalid_argument,
                 detail::format("--window {} is longer than the model's context of {} tokens", measured.window, n_ctx)};
  EngineOptions options = args.model.engine_options();
  report_all_logits(options, args.model.chunk.value_or(0), static_cast<size_t>(measured.window));
  const Result<std::unique_ptr<Engine>> engine = Engine::create(*model, options);
  if (!engine) return engine.error();
  std::unique_ptr<Engine> base;
  if (args.kl) {
    options.cache.k_type = options.cache.v_type = KvType::f32;
    Result<std::unique_ptr<Engine>> made = Engine::create(*model, options);
    if (!made) return made.error();
    base = std::move(made).value();
    measured.kl_nats = 0.0;
  }

  Progress progress(detail::format("measuring {}", *args.file));
  const auto piece_tokens = static_cast<size_t>(measured.window - 1);
  for (size_t first = 0; first < ids->size(); first += piece_tokens) {
    std::vector<int32_t> piece = *begin;
    piece.insert(piece.end(), ids->begin() + static_cast<ptrdiff_t>(first),
                 ids->begin() + static_cast<ptrdiff_t>(std::min(first + piece_tokens, ids->size())));
    if (piece.size() < 2) break;
    if (const Status done = measure_piece(**engine, base.get(), piece, interrupts, measured); !done)
      return done.error();
    progress.update(first, ids->size());
  }
  if (measured.n_tokens == 0)
    return Error{ErrorCode::invalid_argument, detail::format("{} has no token to predict", *args.file)};
  return measured;
}

std::string describe(const Measured& measured, bool json) {
  const double loss = measured.nats / static_cast<double>(measured.n_tokens);
  const double bits_per_byte = measured.nats / std::numbers::ln2 / static_cast<double>(measured.n_bytes);
  if (!json) {
    std::string text =
        detail::format("loss {:.4f} nats/token, perplexity {:.4f}, {:.4f} bits/byte ({} tokens, {} bytes, window {})\n",
                       loss, std::exp(loss), bits_per_byte, measured.n_tokens, measured.n_bytes, measured.window);
    if (measured.kl_nats)
      text += detail::format("mean KL divergence from an f32 cache {:.3e} nats/token\n",
                             *measured.kl_nats / static_cast<double>(measured.n_tokens));
    return text;
  }
  nlohmann::ordered_json result;
  result["loss"] = loss;
  result["perplexity"] = std::exp(loss);
  result["bits_per_byte"] = bits_per_byte;
  result["n_tokens"] = measured.n_tokens;
  result["n_bytes"] = measured.n_bytes;
  result["window"] = measured.window;
  if (measured.kl_nats) result["kl_from_f32_cache"] = *measured.kl_nats / static_cast<double>(measured.n_tokens);
  return result.dump() + "\n";
}

}  // namespace

int cmd_eval(const Words& words) {
  Arguments arguments("eval", "Measures a model on a text: loss, perplexity, bits per byte.");
  EvalArgs args;
  args.model.declare_model(arguments);
  arguments.text("-f,--file", "TEXT", args.file, "The text file; - for standard input");
  arguments.integer("--window", args.window, 2, kAnyHigh,
                    "Tokens that a prediction may look back on, a begin token included (default: the model's context)");
  arguments.flag("--kl", args.kl, "Also the mean KL divergence of the predictions from those with an f32 cache");
  arguments.flag("--json", args.json, "One line of JSON");
  args.model.declare_engine(arguments);
  arguments.note(
      "The whole text is tokenized without special tokens and cut into pieces of window - 1 tokens; each piece is\n"
      "predicted after one begin token. Loss is the mean of -log p in nats.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!args.file) return usage_error("eval", "-f TEXT is missing");

  const Interrupts interrupts;
  const Result<Measured> measured = measure(args, interrupts);
  if (!measured) return fail("eval", measured.error(), interrupts);
  Output out;
  out.write(describe(*measured, args.json));
  return out.status("eval");
}

}  // namespace decant::tools
