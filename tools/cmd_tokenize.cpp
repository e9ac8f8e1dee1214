// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "tools/args.h"
#include "tools/model_args.h"
#include "tools/output.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

/// Runs `body` with the model's tokenizer; tells of what goes wrong before it.
template <typename Body>
int with_tokenizer(const char* command, const ModelArgs& args, const Interrupts& interrupts, const Body& body) {
  const Result<std::shared_ptr<const Model>> model = args.open(interrupts);
  if (!model) return interrupts.stopped() ? interrupts.exit_status() : fail(command, model.error());
  const Result<const Tokenizer*> tokenizer = (*model)->tokenizer();
  if (!tokenizer) return fail(command, tokenizer.error());
  return body(**tokenizer);
}

}  // namespace

int cmd_tokenize(const Words& words) {
  Arguments arguments("tokenize", "Shows the token ids of a text, and the vocabulary's entry for each.");
  ModelArgs args;
  std::optional<std::string> text;
  bool no_special = false, json = false;
  args.declare_model(arguments);
  arguments.text("TEXT", "", text, "The text; without it, or as -, standard input, every byte of it");
  arguments.flag("--no-special", no_special, "Don't add the model's special tokens, a begin token for instance");
  arguments.flag("--json", json, "One line of JSON: {\"ids\": [...], \"pieces\": [...]}");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!text && standard_input_is_terminal()) return usage_error("tokenize", "TEXT is missing");

  const Interrupts interrupts;
  if (!text || *text == "-") {
    Result<std::string> input = read_standard_input(interrupts.fd());
    if (!input) return interrupts.stopped() ? interrupts.exit_status() : fail("tokenize", input.error());
    text = std::move(input).value();
  }
  return with_tokenizer("tokenize", args, interrupts, [&](const Tokenizer& tokenizer) {
    const Result<std::vector<int32_t>> ids = tokenizer.encode(*text, {.add_special = !no_special});
    if (!ids) return fail("tokenize", ids.error());
    Json pieces = Json::array();
    std::string table;
    for (const int32_t id : *ids) {
      pieces.push_back(std::string(tokenizer.entry(id)));
      table += detail::format("{:>7}  {}\n", id, tokenizer.entry(id));
    }
    Json result;
    result["ids"] = *ids;
    result["pieces"] = std::move(pieces);
    Output out;
    out.write(json ? line(result) : table);
    return out.status("tokenize");
  });
}

int cmd_detokenize(const Words& words) {
  Arguments arguments("detokenize", "Shows the text of token ids.");
  ModelArgs args;
  std::optional<std::vector<int32_t>> ids;
  bool special = false, json = false;
  args.declare_model(arguments);
  arguments.ids("IDS", ids, "The ids, separated by commas");
  arguments.flag("--special", special, "Show special tokens too");
  arguments.flag("--json", json, "One line of JSON: {\"text\": ...}");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!ids) return usage_error("detokenize", "the ids are missing, such as 1,2,3");

  const Interrupts interrupts;
  return with_tokenizer("detokenize", args, interrupts, [&](const Tokenizer& tokenizer) {
    if (const Status known = check_ids(*ids, tokenizer.vocab_size()); !known) return fail("detokenize", known.error());
    const std::string text = tokenizer.decode(*ids, !special);
    Json result;
    result["text"] = text;
    Output out;
    out.write(json ? line(result) : text);
    if (!json && out.is_terminal() && !out.at_line_start()) out.write("\n");
    return out.status("detokenize");
  });
}

}  // namespace decant::tools
