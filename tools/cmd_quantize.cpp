// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>

#include "decant/detail/format.h"

#include "engine/model/pack.h"
#include "tools/args.h"
#include "tools/terminal.h"

namespace decant::tools {

int cmd_quantize(const Words& words) {
  Arguments arguments("quantize", "Writes a model packed as it lies in memory, so that it opens at once.");
  std::optional<std::string> in, out;
  std::optional<int> n_threads;
  bool packed = false;
  arguments.text("IN", "", in, "A .gguf file or a Hugging Face directory");
  arguments.text("-o,--output", "OUT.dpk", out, "The file to write; it appears when it is complete");
  arguments.flag("--packed", packed, "Keep every weight's type and value; needed, since other types can't be made yet");
  arguments.integer("--threads", n_threads, 1, 1024, "Threads that pack (default: the cores this process may use)");
  arguments.note(
      "The packed file gives the same logits, bit for bit, and its sessions are those of IN. It is decant's own: no\n"
      "other program reads it, and a later decant may want it packed again. It is mapped, not read, so it must not be\n"
      "cut short or written to while a program uses it. Its weights can't be used with --numerics reference.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!in || !out) return usage_error("quantize", "IN and -o OUT.dpk must both be given");
  if (!packed) return usage_error("quantize", "--packed must be given: making other types isn't possible yet");

  const Interrupts interrupts;
  Progress progress(detail::format("packing {}", *in));
  model::PackOptions options;
  options.n_threads = n_threads.value_or(0);
  options.progress = [&progress](size_t done, size_t total) { progress.update(done, total); };
  options.stop = interrupts.token();
  const Status done = model::pack_model(*in, *out, options);
  return done ? kExitOk : fail("quantize", done.error(), interrupts, "interrupted; nothing was written");
}

}  // namespace decant::tools
