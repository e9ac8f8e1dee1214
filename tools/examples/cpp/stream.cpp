// SPDX-License-Identifier: Apache-2.0
// stream MODEL PROMPT N: goes on from a prompt for N tokens and shows text as it comes.
#include <cstdlib>
#include <iostream>

#include <decant/decant.hpp>

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: stream MODEL PROMPT N\n", 2;
  auto model = decant::Model::open(argv[1]);
  if (!model) return std::cerr << model.error().message << '\n', 1;
  auto tokenizer = (*model)->tokenizer();
  if (!tokenizer) return std::cerr << tokenizer.error().message << '\n', 1;
  auto engine = decant::Engine::create(*model);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;

  decant::Request request;
  request.prompt = *(*tokenizer)->encode(argv[2]);
  request.sampling.temperature = 0.7F;
  request.max_new_tokens = std::atoi(argv[3]);
  decant::TextStream text(**tokenizer, request.prompt, {});
  if (auto id = (*engine)->submit(request); !id) return std::cerr << id.error().message << '\n', 1;

  while ((*engine)->n_sequences() > 0) {
    auto report = (*engine)->step();
    if (!report) return std::cerr << report.error().message << '\n', 1;
    for (const decant::TokenEvent& event : report->tokens)
      if (event.token_id >= 0 && event.finish != decant::FinishReason::stop)
        std::cout << text.push(event.token_id) << std::flush;
  }
  std::cout << text.finish() << '\n';
}
