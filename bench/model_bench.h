// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "decant/engine.h"

#include "engine/profile/measure.h"

namespace decant::bench {

using Json = nlohmann::ordered_json;

/// What the programs that measure a model have in common: options, opening, a line of JSON a result.
class ModelBench {
 public:
  /// name: as the JSON calls it. what: for --help.
  ModelBench(const char* name, const std::string& what);

  /// Further options.
  template <typename T>
  void option(const std::string& flag, T& value, const std::string& help) {
    app_.add_option(flag, value, help)->delimiter(',')->capture_default_str();
  }

  /// Reads the command line and calls `body`; the program's exit status. An error is told on standard error.
  int run(int argc, char** argv, const std::function<Status()>& body);

  Status open();
  /// An engine for `n_sequences` sequences of up to n_ctx tokens.
  Result<std::unique_ptr<Engine>> engine(int n_ctx, int n_sequences = 1, StepObserver on_step = {}) const;

  /// Opens the model and hands an engine with room for what `task` needs of n_sequences to `body`, with what measures
  /// memory. Sets the task's rounds.
  Status measure(profile::Task& task, int n_sequences,
                 const std::function<Status(Engine& engine, profile::ReadBandwidth& memory)>& body);

  const std::shared_ptr<const Model>& model() const noexcept { return model_; }
  /// That a token reads; known within measure().
  size_t weight_bytes() const noexcept { return weight_bytes_; }
  int n_rounds() const noexcept { return n_rounds_; }

  /// The program's name, model, threads, kernels and cache type: how a line begins.
  Json line() const;
  static void print(const Json& line);

 private:
  CLI::App app_;
  const char* name_;
  std::string path_, isa_ = "auto", kv_type_ = "f16", numerics_ = "exact";
  int n_threads_ = 1, n_rounds_ = 5;
  bool pin_threads_ = false;
  KvType k_type_ = KvType::f16, v_type_ = KvType::f16;
  std::shared_ptr<const Model> model_;
  size_t weight_bytes_ = 0;
};

/// Adds the figures of decoding to a line.
void add_figures(Json& line, const profile::DecodeFigures& figures);

}  // namespace decant::bench
