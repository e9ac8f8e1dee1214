#include <decant/decant.hpp>
#include <iostream>

int main() {
  auto model = decant::Model::open("model.gguf");
  if (!model) return std::cerr << model.error().message << '\n', 1;
  auto tokenizer = (*model)->tokenizer();
  if (!tokenizer) return std::cerr << tokenizer.error().message << '\n', 1;
  auto engine = decant::Engine::create(*model);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;

  decant::Request request;
  request.prompt = *(*tokenizer)->encode("Once upon a time");
  request.sampling.temperature = 0.7F;
  request.max_new_tokens = 100;
  decant::TextStream text(**tokenizer, request.prompt, {});
  if (auto id = (*engine)->submit(request); !id) return std::cerr << id.error().message << '\n', 1;

  while ((*engine)->n_sequences() > 0) {
    auto report = (*engine)->step();
    if (!report) return std::cerr << report.error().message << '\n', 1;
    for (const decant::Piece& event : report->pieces)
      if (event.token_id >= 0 && event.finish != decant::FinishReason::stop) std::cout << text.push(event.token_id) << std::flush;
  }
  std::cout << text.finish() << '\n';
}
