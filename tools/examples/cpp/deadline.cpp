// SPDX-License-Identifier: Apache-2.0
// A text that has 50 ms, and a model that has a minute to load.
#include <chrono>
#include <decant/decant.hpp>
#include <iostream>

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  decant::ModelOptions opening;
  opening.deadline = Clock::now() + std::chrono::minutes(1);
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf", {}, opening);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;  // `cancelled` if it took longer
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;

  decant::GenerationOptions options;
  options.ignore_end = true;
  options.deadline = Clock::now() + std::chrono::milliseconds(50);
  const auto told = session->generate("Once upon a time", options);
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << "Once upon a time" << told->text << '\n';
  std::cout << "[" << decant::to_string(told->finish) << " after " << told->ids.size() << " tokens]\n";
}
