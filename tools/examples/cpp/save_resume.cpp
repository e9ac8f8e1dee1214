// SPDX-License-Identifier: Apache-2.0
// Each run goes on where the last one stopped: save_resume MODEL [FILE].
#include <decant/decant.hpp>
#include <filesystem>
#include <iostream>

int main(int argc, char** argv) {
  const std::string path = argc > 2 ? argv[2] : "tale.kv";
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf");
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
  const bool resumed = std::filesystem::exists(path);
  auto session = resumed ? (*engine)->restore_session(path) : (*engine)->session();
  if (!session) return std::cerr << session.error().message << '\n', 1;
  std::cout << "[" << session->n_tokens() << " tokens from " << path << "]\n";

  decant::GenerationOptions options;
  options.max_new_tokens = 40;
  const std::string_view prompt = resumed ? "" : "Once upon a time";
  const auto told = session->generate(prompt, options);
  if (!told) return std::cerr << told.error().message << '\n', 1;
  std::cout << prompt << told->text << '\n';
  if (const decant::Status saved = session->save(path); !saved) return std::cerr << saved.error().message << '\n', 1;
}
