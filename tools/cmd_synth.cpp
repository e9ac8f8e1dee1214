// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "decant/detail/format.h"

#include "engine/model/synth.h"
#include "tools/args.h"
#include "tools/terminal.h"

namespace decant::tools {

int cmd_synth(const Words& words) {
  Arguments arguments("synth", "Writes a model of random weights, for measuring speed without a download.");
  std::optional<std::string> shape_name, out;
  const model::WeightMix* mix = nullptr;
  uint64_t seed = 0;
  arguments.text("SHAPE", "", shape_name,
                 detail::format("One of {}, or a config.json by its path", model::synth_shape_names()));
  arguments.option(
      "--type", "T",
      [&mix](const std::string& text) -> std::string {
        mix = model::find_weight_mix(text);
        return mix != nullptr ? "" : detail::format("needs one of {}, not '{}'", model::weight_mix_names(), text);
      },
      detail::format("Type of the weights, mixed as llama.cpp does: {}", model::weight_mix_names()));
  arguments.text("-o,--output", "FILE", out, "The GGUF file to write; it appears when it is complete");
  arguments.option(
      "--seed", "N",
      [&seed](const std::string& text) -> std::string {
        const std::optional<int64_t> value = parse_integer(text, 0, std::numeric_limits<int64_t>::max());
        if (!value) return detail::format("needs a whole number of at least 0, not '{}'", text);
        seed = static_cast<uint64_t>(*value);
        return {};
      },
      "Other random weights (default: 0); the same seed gives the same file");
  arguments.note(
      "A config.json is as on Hugging Face: model_type (llama, mistral, qwen2, qwen3), num_hidden_layers, "
      "hidden_size,\n"
      "intermediate_size, num_attention_heads, num_key_value_heads, head_dim, vocab_size, max_position_embeddings,\n"
      "rope_theta, rope_scaling, rms_norm_eps, tie_word_embeddings.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!shape_name) return usage_error("synth", "SHAPE must be given");
  if (mix == nullptr) return usage_error("synth", "--type must be given");
  if (!out) return usage_error("synth", "-o must be given");

  const Interrupts interrupts;
  Result<model::SynthShape> shape = model::synth_shape(*shape_name);
  if (!shape && shape.error().code == ErrorCode::invalid_argument) return usage_error("synth", shape.error().message);
  if (!shape) return fail("synth", shape.error());
  Progress progress(detail::format("writing {}", *out));
  model::SynthOptions options;
  options.seed = seed;
  options.progress = [&progress](size_t done, size_t total) { progress.update(done, total); };
  options.stop = interrupts.token();
  const Status done = model::synthesize(*shape, *mix, *out, options);
  return done ? kExitOk : fail("synth", done.error(), interrupts, "interrupted; nothing was written");
}

}  // namespace decant::tools
