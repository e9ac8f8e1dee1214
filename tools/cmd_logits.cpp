// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "tools/args.h"
#include "tools/model_args.h"
#include "tools/output_file.h"
#include "tools/prefill.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

struct LogitsArgs {
  ModelArgs model;
  std::optional<std::vector<int32_t>> ids;
  std::optional<std::string> text, out;
  bool decode = false;

  LogitsArgs() { model.default_kv_type = KvType::f32; }
};

Status write_logits(const LogitsArgs& args, const Interrupts& interrupts) {
  const Result<std::shared_ptr<const Model>> model = args.model.open(interrupts);
  if (!model) return model.error();
  Result<std::vector<int32_t>> ids = prompt_ids(**model, args.ids, args.text.value_or(""));
  if (!ids) return ids.error();
  if (ids->empty()) return Error{ErrorCode::invalid_argument, "the text has no tokens, so there are no logits"};

  EngineOptions options = args.model.engine_options();
  report_all_logits(options, args.decode ? 1 : args.model.chunk.value_or(0), ids->size());
  const Result<std::unique_ptr<Engine>> engine = Engine::create(*model, options);
  if (!engine) return engine.error();
  if (Status fits = check_fits(ids->size(), **engine); !fits) return fits;

  OutputFile file;
  if (Status opened = file.open(*args.out); !opened) return opened;
  const std::string header = npy_header(ids->size(), static_cast<size_t>((*model)->info().vocab_size));
  if (Status written = file.write(std::as_bytes(std::span(header))); !written) return written;
  size_t n_rows = 0;
  const size_t n_ids = ids->size();
  const Status done =
      prefill(**engine, std::move(ids).value(), interrupts, [&file, &n_rows](int, std::span<const float> logits) {
        ++n_rows;
        return file.write(std::as_bytes(logits));
      });
  if (!done) return done;
  if (n_rows != n_ids)
    return Error{ErrorCode::internal, detail::format("the engine reported {} of {} positions", n_rows, n_ids)};
  return file.commit();
}

}  // namespace

int cmd_logits(const Words& words) {
  Arguments arguments("logits",
                      "Writes the logits of every position of a prompt as a NumPy array, float32 [n_ids, vocab].");
  LogitsArgs args;
  args.model.declare_model(arguments);
  arguments.ids("--ids", args.ids, "Token ids of the prompt");
  arguments.text("--text", "STR", args.text, "The prompt as text; special tokens are added");
  arguments.text("-o,--output", "OUT.npy", args.out, "The file to write; - for standard output");
  arguments.flag("--decode", args.decode, "One token at a time through the cache instead of by prefill");
  args.model.declare_engine(arguments);
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (args.ids.has_value() == args.text.has_value())
    return usage_error("logits", "one of --ids and --text must be given");
  if (!args.out || args.out->empty()) return usage_error("logits", "-o OUT.npy is missing");
  if (args.decode && args.model.chunk.value_or(1) != 1)
    return usage_error("logits", "--decode computes one token at a time; leave --chunk out");

  const Interrupts interrupts;
  const Status done = write_logits(args, interrupts);
  return done ? kExitOk : fail("logits", done.error(), interrupts, "interrupted; nothing was written");
}

}  // namespace decant::tools
