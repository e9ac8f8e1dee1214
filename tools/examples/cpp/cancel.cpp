// SPDX-License-Identifier: Apache-2.0
// Three ways to stop a text: an answer to a piece, a call from another thread, and a stop token.
#include <chrono>
#include <decant/decant.hpp>
#include <iostream>
#include <stop_token>
#include <thread>

int main(int argc, char** argv) {
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;
  decant::GenerationOptions options;
  options.ignore_end = true;  // would go on until the context is full

  const auto end_of_sentence = [](const decant::Piece& piece) {
    return piece.text.find('.') == std::string_view::npos ? decant::Flow::go_on : decant::Flow::stop;
  };
  auto told = session->generate("Once upon a time", options, end_of_sentence);
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << "Once upon a time" << told->text << " [" << decant::to_string(told->finish) << "]\n";

  {
    std::jthread button([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      session->cancel();
    });
    told = session->generate("", options);
  }
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << told->ids.size() << " more tokens [" << decant::to_string(told->finish) << "]\n";

  {
    std::jthread worker([&](const std::stop_token& stop) {
      options.stop = stop;  // one token may stop any number of texts, Engine::step() and an opening model, too
      told = session->generate("", options);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    worker.request_stop();
  }
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << told->ids.size() << " more tokens [" << decant::to_string(told->finish) << "]\n";

  options.stop = {};
  options.max_new_tokens = 10;
  told = session->generate("", options);  // from the last token on, as if nothing had happened
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << told->ids.size() << " more tokens [" << decant::to_string(told->finish) << "]\n";
}
