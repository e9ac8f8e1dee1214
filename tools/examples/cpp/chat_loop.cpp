// SPDX-License-Identifier: Apache-2.0
// A story told in turns: each line of standard input is a paragraph, and so is each answer.
#include <decant/decant.hpp>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;

  const std::string end_of_turn = "\n\n";
  decant::GenerationOptions options;
  options.sampling.temperature = 0.7F;
  options.sampling.top_p = 0.9F;
  options.max_new_tokens = 80;
  options.stop_strings = {end_of_turn};

  for (std::string line; std::getline(std::cin, line);) {
    decant::Stream answer = session->stream(line + end_of_turn, options);
    for (const decant::Piece& piece : answer) std::cout << piece.text << std::flush;
    std::cout << '\n';
    if (!answer.status()) return std::cerr << answer.status().error().message << '\n', 1;
    const decant::Usage usage = answer.usage();
    std::cout << "[" << usage.n_prompt_tokens << " tokens in, " << usage.n_generated_tokens << " out, "
              << decant::to_string(answer.finish()) << "; " << session->n_tokens() << " of " << (*engine)->n_ctx()
              << "]\n";
  }
}
