// SPDX-License-Identifier: Apache-2.0
// Four ways on from one prompt, which is computed once; the likeliest is kept.
#include <decant/decant.hpp>
#include <iostream>
#include <string>
#include <vector>

struct Candidate {
  decant::Session session;
  decant::Stream stream;
  std::string text;
  float logprobs = 0.0F;  // their sum
  int n_tokens = 0;
};

int main(int argc, char** argv) {
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  auto session = (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;
  const std::string prompt = "The fox looked at the hen and said";
  const auto computed = session->generate(prompt, {.max_new_tokens = 0});
  if (!computed) return std::cerr << computed.error().message << '\n', 1;

  std::vector<Candidate> candidates;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    auto fork = session->fork();
    if (!fork) return std::cerr << fork.error().message << '\n', 1;
    decant::GenerationOptions options;
    options.sampling.temperature = 0.8F;
    options.sampling.seed = seed;
    options.max_new_tokens = 40;
    options.stop_strings = {"\n"};
    decant::Stream stream = fork->stream("", options);
    candidates.push_back({std::move(*fork), std::move(stream), "", 0.0F, 0});
  }

  // All streams have begun: the first that is asked computes a token for each of them.
  for (bool going_on = true; going_on;) {
    going_on = false;
    for (Candidate& candidate : candidates) {
      const decant::Piece* const piece = candidate.stream.next();
      if (piece == nullptr) continue;
      going_on = true;
      candidate.text += piece->text;
      if (piece->token_id < 0) continue;
      candidate.logprobs += piece->logprob;
      ++candidate.n_tokens;
    }
  }

  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.stream.status()) return std::cerr << candidate.stream.status().error().message << '\n', 1;
    const float mean = candidate.logprobs / static_cast<float>(candidate.n_tokens);
    std::cout << "[" << mean << "]" << candidate.text << '\n';
    if (best == nullptr || mean > best->logprobs / static_cast<float>(best->n_tokens)) best = &candidate;
  }
  std::cout << "best: " << prompt << best->text << '\n';
}
