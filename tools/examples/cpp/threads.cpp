// SPDX-License-Identifier: Apache-2.0
// A session on each of four threads, batched by the engine; then the same texts one after the other.
#include <decant/decant.hpp>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  const std::vector<std::string> prompts = {"Once upon a time", "The fox looked at the hen and said",
                                            "The king had three sons", "There was an old woman"};

  const auto tell = [&](size_t i) -> decant::Result<decant::Completion> {
    auto session = (*engine)->session();
    if (!session) return session.error();
    decant::GenerationOptions options;
    options.max_new_tokens = 40;
    options.sampling.seed = i;
    return session->generate(prompts[i], options);
  };

  std::vector<decant::Result<decant::Completion>> together(prompts.size(), decant::Completion());
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < prompts.size(); ++i) threads.emplace_back([&, i] { together[i] = tell(i); });
  }  // they are joined here
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto alone = tell(i);
    if (!alone) return std::cerr << alone.error().message << '\n', 1;
    if (!together[i]) return std::cerr << together[i].error().message << '\n', 1;
    const bool same = together[i]->ids == alone->ids;
    std::cout << prompts[i] << together[i]->text << "\n[" << (same ? "the same alone" : "another one alone") << "]\n";
    if (!same) return 1;
  }
}
