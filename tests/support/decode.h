// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decant/decant.hpp"

namespace decant::test {

/// The value of a result; ends the test case with the error's message otherwise.
template <typename T>
T must(Result<T> result);
void must(const Status& status);
[[noreturn]] void fail_with(const Error& error);

/// A result's code, `ok` for a value.
ErrorCode code_of(const auto& result) { return result ? ErrorCode::ok : result.error().code; }

/// n ids of a vocabulary, the same for the same seed.
std::vector<int32_t> random_ids(int n, int vocab_size, uint32_t seed);

std::shared_ptr<const Model> open_model(const std::string& path, Numerics numerics = Numerics::exact);

/// A fixture, opened once.
std::shared_ptr<const Model> small_model();

/// Two threads, three sequences, steps of 32 tokens, blocks of 16.
EngineOptions small_options();

/// Greedy, past any end id, n tokens.
GenerationOptions greedy(int n);

/// Options for tests of logits: an f32 cache, room for the logits of every position.
EngineOptions logits_options(int n_tokens);

/// Rows of logits, [n_rows, vocab_size] without gaps.
struct Logits {
  int n_rows = 0;
  int vocab_size = 0;
  std::vector<float> values;
  std::span<const float> row(int r) const {
    return std::span(values).subspan(static_cast<size_t>(r) * static_cast<size_t>(vocab_size),
                                     static_cast<size_t>(vocab_size));
  }
  bool operator==(const Logits& other) const;  ///< the same bits
};

/// The logits of every prompt position.
Logits prompt_logits(std::shared_ptr<const Model> model, std::span<const int32_t> ids, const EngineOptions& options);

/// The same for several prompts that share an engine's steps.
std::vector<Logits> batch_logits(std::shared_ptr<const Model> model, const std::vector<std::vector<int32_t>>& prompts,
                                 const EngineOptions& options);

/// n greedy ids after a prompt, past any end id.
std::vector<int32_t> greedy_ids(std::shared_ptr<const Model> model, std::span<const int32_t> prompt, int n,
                                const EngineOptions& options);

/// Greatest |a − b|.
double max_difference(std::span<const float> a, std::span<const float> b);

/// FNV-1a over the bits.
uint64_t hash_bits(std::span<const float> values);

template <typename T>
T must(Result<T> result) {
  if (!result) fail_with(result.error());
  return std::move(result).value();
}

}  // namespace decant::test
