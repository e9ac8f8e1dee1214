// SPDX-License-Identifier: Apache-2.0
// What decant has to say goes where the host wants it; without a sink it is silent.
#include <array>
#include <decant/decant.hpp>
#include <iostream>

int main(int argc, char** argv) {
  const decant::LogSink sink = [](decant::LogLevel level, std::string_view message) {
    static constexpr std::array<const char*, 6> kNames = {"trace", "debug", "info", "warn", "error", "off"};
    if (level >= decant::LogLevel::info) std::cout << kNames[static_cast<size_t>(level)] << ": " << message << '\n';
  };
  decant::EngineOptions options;
  options.log = sink;
  decant::ModelOptions opening;
  opening.log = sink;
  const auto engine = decant::Engine::open(argc > 1 ? argv[1] : "model.gguf", options, opening);
  if (!engine) return std::cerr << engine.error().message << '\n', 1;
}
