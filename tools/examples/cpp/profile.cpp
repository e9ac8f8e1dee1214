// SPDX-License-Identifier: Apache-2.0
// Where the time of a hundred tokens goes, by operation.
#include <array>
#include <decant/decant.hpp>
#include <iomanip>
#include <iostream>

int main(int argc, char** argv) {
  std::array<int64_t, decant::kOps> op_ns = {};
  int64_t elapsed_ns = 0;
  decant::LatencyHistograms latencies;
  decant::EngineOptions options;
  options.on_step = [&](const decant::StepProfile& step) {
    latencies.add(step);
    if (step.n_prefill_tokens > 0) return;
    elapsed_ns += step.elapsed_ns;
    for (const decant::OpProfile& op : step.ops) op_ns[static_cast<size_t>(op.op)] += op.end_ns - op.begin_ns;
  };
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf", options);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;
  decant::GenerationOptions generation;
  generation.ignore_end = true;
  generation.max_new_tokens = 100;
  const auto told = session->generate("Once upon a time", generation);
  if (!told) return std::cerr << told.error().message << '\n', 1;

  std::cout << std::fixed << std::setprecision(1);
  for (size_t i = 0; i < op_ns.size(); ++i)
    std::cout << std::setw(12) << decant::to_string(static_cast<decant::Op>(i)) << std::setw(7)
              << 100.0 * static_cast<double>(op_ns[i]) / static_cast<double>(elapsed_ns) << " %\n";
  const decant::LatencyHistogram& tokens = latencies.inter_token;
  std::cout << tokens.n() << " tokens after the first, " << 1000.0 * tokens.sum_s() / static_cast<double>(tokens.n())
            << " ms each\n";
}
