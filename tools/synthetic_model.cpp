// SPDX-License-Identifier: Apache-2.0
#include "tools/synthetic_model.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "decant/detail/format.h"

namespace decant::tools {

Result<Synthetic> parse_synthetic(const std::string& text) {
  const size_t colon = text.rfind(':');
  const model::WeightMix* const mix =
      colon == std::string::npos ? nullptr : model::find_weight_mix(std::string_view(text).substr(colon + 1));
  if (mix == nullptr)
    return Error{
        ErrorCode::invalid_argument,
        detail::format("'{}' is not SHAPE:TYPE such as llama-1b:q4_0; types are {}", text, model::weight_mix_names())};
  Result<model::SynthShape> shape = model::synth_shape(text.substr(0, colon));
  if (!shape) return shape.error();
  return Synthetic{std::move(*shape), mix};
}

Result<SyntheticModel> SyntheticModel::make(const Synthetic& synthetic, const Interrupts& interrupts) {
  std::error_code code;
  std::string folder = (std::filesystem::temp_directory_path(code) / "decant-XXXXXX").string();
  if (code || ::mkdtemp(folder.data()) == nullptr)
    return Error{ErrorCode::io, detail::format("no temporary folder for a model: {}",
                                               code ? code.message() : std::generic_category().message(errno))};
  SyntheticModel model(std::move(folder));
  Progress progress("making up weights");
  model::SynthOptions options;
  options.progress = [&progress](size_t done, size_t total) { progress.update(done, total); };
  options.stop = interrupts.token();
  if (Status made = model::synthesize(synthetic.shape, *synthetic.mix, model.path(), options); !made)
    return made.error();
  return model;
}

SyntheticModel::~SyntheticModel() {
  if (folder_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace decant::tools
