// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>

#include "decant/detail/format.h"

#include "engine/model/convert.h"
#include "tools/args.h"
#include "tools/terminal.h"

namespace decant::tools {

int cmd_convert(const Words& words) {
  Arguments arguments("convert", "Writes a Hugging Face directory as a GGUF file.");
  std::optional<std::string> directory, out, name, description, license;
  DType type = DType::f16;
  arguments.text("DIR", "", directory, "A directory of config.json, *.safetensors and tokenizer.json");
  arguments.text("OUT.gguf", "", out, "The file to write; it appears when it is complete");
  arguments.option(
      "--type", "T",
      [&type](const std::string& text) -> std::string {
        const std::optional<DType> parsed = parse_dtype(text);
        const bool writable =
            parsed == DType::f32 || parsed == DType::f16 || parsed == DType::bf16 || parsed == DType::q8_0;
        if (!writable) return detail::format("needs one of f32, f16, bf16, q8_0, not '{}'", text);
        type = *parsed;
        return {};
      },
      "Type of the matrices: f32, f16 (default), bf16 or q8_0; norms and biases stay f32");
  arguments.text("--name", "STR", name, "The model's name in the file (default: the directory's)");
  arguments.text("--description", "STR", description, "What the model is, in the file");
  arguments.text("--license", "STR", license, "Its licence, in the file");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!directory || !out) return usage_error("convert", "DIR and OUT.gguf must both be given");

  const Interrupts interrupts;
  Progress progress(detail::format("converting {}", *directory));
  model::ConvertOptions options;
  options.name = name.value_or("");
  options.description = description.value_or("");
  options.license = license.value_or("");
  options.progress = [&progress](size_t done, size_t total) { progress.update(done, total); };
  options.stop = interrupts.token();
  const Status done = model::convert(*directory, *out, type, options);
  return done ? kExitOk : fail("convert", done.error(), interrupts, "interrupted; nothing was written");
}

}  // namespace decant::tools
