#include <decant/decant.hpp>
#include <iostream>

int main() {
  auto model = decant::Model::open("model.gguf");
  if (!model) return std::cerr << model.error().message << '\n', 1;

  decant::LatencyHistograms histograms;  // of an engine that serves: counts in vLLM's bounds
  double attention_ns = 0, all_ns = 0;
  size_t bytes = 0;
  decant::EngineOptions options;
  options.on_step = [&](const decant::StepProfile& step) {
    histograms.add(step);
    for (const decant::OpProfile& op : step.ops)
      if (op.op == decant::Op::attention) attention_ns += static_cast<double>(op.end_ns - op.begin_ns);
    all_ns += static_cast<double>(step.elapsed_ns);
    bytes = step.bytes();
  };
  auto engine = decant::Engine::create(*model, options);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;

  decant::Request request;
  request.prompt = {1, 2, 3};
  request.max_new_tokens = 100;
  request.ignore_end = true;
  if (auto id = (*engine)->submit(request); !id) return std::cerr << id.error().message << '\n', 1;
  while ((*engine)->n_sequences() > 0)
    if (auto report = (*engine)->step(); !report) return std::cerr << report.error().message << '\n', 1;

  std::cout << "attention took " << 100 * attention_ns / all_ns << " % of the time; the last token read " << bytes
            << " bytes; " << histograms.inter_token.counts().front() << " of " << histograms.inter_token.n()
            << " tokens came within " << histograms.inter_token.bounds_s().front() << " s of the one before\n";
}
