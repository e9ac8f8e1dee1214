// SPDX-License-Identifier: Apache-2.0
// Five users, one loop: whoever can be taken in is, the others wait for somebody to finish.
#include <decant/decant.hpp>
#include <deque>
#include <iostream>
#include <map>

int main(int argc, char** argv) {
  decant::EngineOptions options;
  options.max_sequences = 3;
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf", options);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;

  std::deque<decant::Request> waiting;
  for (const char* prompt : {"Once upon a time", "The fox looked at the hen and said", "Far away, in the forest,",
                             "The king had three sons", "There was an old woman"}) {
    decant::Request request;
    request.prompt_text = prompt;
    request.sampling.temperature = 0.0F;
    request.max_new_tokens = 24;
    request.priority = waiting.empty() ? 1 : 0;  // the first one's prompt goes before the others'
    const auto admission = (*engine)->admit(request);
    if (!admission) return std::cerr << admission.error().message << '\n', 1;
    std::cout << prompt << "… takes up to " << admission->needed_bytes / 1024 << " KiB of cache\n";
    waiting.push_back(std::move(request));
  }

  std::map<decant::SequenceId, std::string> texts;  // of those that are alive
  while (!waiting.empty() || !texts.empty()) {
    while (!waiting.empty()) {
      const auto id = (*engine)->submit(waiting.front());
      if (!id && id.error().code == decant::ErrorCode::cache_full && !texts.empty()) break;
      if (!id) return std::cerr << id.error().message << '\n', 1;
      texts[*id] = waiting.front().prompt_text;
      waiting.pop_front();
    }
    const auto report = (*engine)->step();
    if (!report) return std::cerr << report.error().message << '\n', 1;
    for (const decant::Piece& piece : report->pieces) {
      texts[piece.sequence] += piece.text;
      if (piece.finish == decant::FinishReason::none) continue;
      std::cout << piece.sequence << " (" << decant::to_string(piece.finish) << "): " << texts[piece.sequence] << '\n';
      texts.erase(piece.sequence);
    }
  }
}
