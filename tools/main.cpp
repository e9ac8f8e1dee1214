// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <exception>
#include <new>
#include <span>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "decant/detail/format.h"

#include "tools/command.h"
#include "tools/output.h"

namespace decant::tools {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Words& words);
};

constexpr Command kCommands[] = {
    {"run", "Stream text that continues a prompt", cmd_run},
    {"logits", "Write the logits of a prompt as a NumPy array", cmd_logits},
    {"tokenize", "Show the token ids of a text", cmd_tokenize},
    {"detokenize", "Show the text of token ids", cmd_detokenize},
    {"inspect", "Show what a model is", cmd_inspect},
    {"eval", "Measure loss, perplexity and bits per byte on a text", cmd_eval},
    {"cache", "Look into a session file", cmd_cache},
    {"convert", "Write a model as a GGUF file", cmd_convert},
    {"quantize", "Write a model packed, so that it opens at once", cmd_quantize},
    {"synth", "Write a model of random weights", cmd_synth},
    {"machine", "Show what of this machine bounds the speed", cmd_machine},
    {"profile", "Measure tokens beside what the memory delivers", cmd_profile},
};

const Command* find_command(std::string_view name) {
  for (const Command& command : kCommands)
    if (name == command.name) return &command;
  return nullptr;
}

int show(const std::string& text) {
  Output out;
  out.write(text);
  return out.status("");
}

int show_help() {
  std::string text = "decant: streams text from a language model\n\nusage: decant COMMAND [options]\n\ncommands:\n";
  for (const Command& command : kCommands) text += detail::format("  {:<12}{}\n", command.name, command.summary);
  text += detail::format("  {:<12}{}\n", "help", "Show this, or the help of a COMMAND");
  text += detail::format("  {:<12}{}\n", "version", "Show the version");
  text += "\n'decant help COMMAND' shows a command's options. For a start: decant run \"Once upon a time\"\n";
  return show(text);
}

int unknown_command(const std::string& name) {
  std::string names;
  for (const Command& command : kCommands) names += detail::format("{}, ", command.name);
  return usage_error("", detail::format("'{}' is not a command ({}help, version)", name, names));
}

int dispatch(const Words& words) {
  if (words.empty()) return usage_error("", "no command given");
  const std::string& name = words[0];
  if (name == "version" || name == "--version" || name == "-V") return show("decant " DECANT_VERSION "\n");
  if (name == "help" || name == "--help" || name == "-h") {
    if (words.size() == 1) return show_help();
    if (words[1] == "help" || words[1] == "version") return show_help();
    const Command* const command = find_command(words[1]);
    return command != nullptr ? command->run({"--help"}) : unknown_command(words[1]);
  }
  const Command* const command = find_command(name);
  return command != nullptr ? command->run({words.begin() + 1, words.end()}) : unknown_command(name);
}

/// A standard stream that the caller closed would be the number of the next file that is opened, and text would go into
/// a model. The one opened here refuses what is asked of it instead.
void hold_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) == -1) {
      const int opened = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
      if (opened != fd && opened != -1) ::close(opened);
    }
}

}  // namespace
}  // namespace decant::tools

int main(int argc, char** argv) {
  using namespace decant::tools;
  hold_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write(), which Output takes as a quiet end
  try {
    const std::span<char*> all(argv, static_cast<size_t>(argc));
    return dispatch(Words(all.begin() + (argc > 0 ? 1 : 0), all.end()));
  } catch (const std::bad_alloc&) {
    tell("", "out of memory; a smaller model, --ctx or --chunk needs less");
  } catch (const std::exception& error) {
    tell("", error.what());
  }
  return kExitFailed;
}
