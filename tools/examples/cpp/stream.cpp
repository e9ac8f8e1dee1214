// SPDX-License-Identifier: Apache-2.0
#include <decant/decant.hpp>
#include <iostream>
int main(int argc, char** argv) {
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;
  decant::Stream stream = session->stream("Once upon a time", {.max_new_tokens = 100});
  for (const decant::Piece& piece : stream) std::cout << piece.text << std::flush;
  if (!stream.status()) return std::cerr << stream.status().error().message << '\n', 1;
}
