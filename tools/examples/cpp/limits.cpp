// SPDX-License-Identifier: Apache-2.0
// An engine that stays within so many bytes: what doesn't fit is refused before any work.
#include <decant/decant.hpp>
#include <iostream>

int main(int argc, char** argv) {
  const auto model = decant::Model::open(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return std::cerr << model.error().message << '\n', 1;
  decant::EngineOptions options;
  options.n_ctx = 512;

  // What an engine takes before any text, and room for one and a half texts.
  const auto unlimited = decant::Engine::create(*model, options);
  if (!unlimited) return std::cerr << unlimited.error().message << '\n', 1;
  const size_t whole_text_bytes = (*unlimited)->cache_bytes_needed(options.n_ctx);
  options.memory_limit_bytes = (*unlimited)->memory_stats().total_bytes() + whole_text_bytes * 3 / 2;
  const auto engine = decant::Engine::create(*model, options);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  const decant::MemoryStats memory = (*engine)->memory_stats();
  std::cout << "limit " << memory.limit_bytes << ", weights " << memory.weights_bytes << ", before any text "
            << memory.total_bytes() << " bytes\n";

  decant::Request request;
  request.prompt_text = "Once upon a time";
  for (const int max_new_tokens : {-1, -1, 100}) {  // negative: until the context is full
    request.max_new_tokens = max_new_tokens;
    const auto admission = (*engine)->admit(request);
    if (!admission) return std::cerr << admission.error().message << '\n', 1;
    std::cout << "needs up to " << admission->needed_bytes << " of " << admission->available_bytes
              << " bytes: " << (admission->fits ? "fits" : "doesn't fit") << '\n';
    const auto id = (*engine)->submit(request);
    if (!id) std::cout << "  " << decant::to_string(id.error().code) << ": " << id.error().message << '\n';
  }

  options.memory_limit_bytes = memory.weights_bytes;
  const auto refused = decant::Engine::create(*model, options);
  if (!refused) std::cout << decant::to_string(refused.error().code) << ": " << refused.error().message << '\n';
}
