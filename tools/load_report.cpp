// SPDX-License-Identifier: Apache-2.0
#include "tools/load_report.h"

#include "decant/detail/format.h"

namespace decant::tools {

std::string load_line(const Model& model) {
  const LoadTimes& times = model.load_times();
  const auto ms = [](int64_t ns) { return static_cast<double>(ns) / 1e6; };
  return detail::format(
      "loaded in {:.0f} ms: metadata {:.1f}, weights {:.1f} ({:.1f} MB {} by {} thread{}), meanwhile tokenizer "
      "{:.1f}\n",
      ms(times.metadata_ns + times.weights_ns), ms(times.metadata_ns), ms(times.weights_ns),
      static_cast<double>(model.info().file_bytes) / 1e6, times.mapped ? "mapped" : "read", times.n_threads,
      times.n_threads == 1 ? "" : "s", ms(times.tokenizer_ns));
}

}  // namespace decant::tools
