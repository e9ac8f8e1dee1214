// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/tokenizer.h"

#include "engine/tokenizer/tokenizer_source.h"
#include "tests/support/fixtures.h"

namespace decant::test {

/// The tokenizers among the fixtures that are there: the clone has the kinds that decant reads.
inline std::vector<std::string> fixture_tokenizers() {
  std::vector<std::string> names;
  for (const char* name : {"bpe-gpt2", "bpe-llama3", "bpe-qwen2", "gemma-bpe", "metaspace-bpe", "spm-bpe", "unigram",
                           "unigram-bytefallback"})
    if (std::filesystem::exists(fixture(std::string("tokenizers/") + name + "/tests.json"))) names.emplace_back(name);
  return names;
}

inline Result<std::unique_ptr<Tokenizer>> tokenizer_of(std::string json) {
  tokenizer::TokenizerSource source;
  source.tokenizer_json = std::move(json);
  return tokenizer::make_tokenizer(source);
}

/// A tokenizer that must be readable.
inline std::unique_ptr<Tokenizer> must_read(std::string json) {
  Result<std::unique_ptr<Tokenizer>> made = tokenizer_of(std::move(json));
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  return std::move(*made);
}

inline std::unique_ptr<Tokenizer> fixture_tokenizer(const std::string& name) {
  return must_read(read_file(fixture("tokenizers/" + name + "/tokenizer.json")));
}

inline std::vector<int32_t> must_encode(const Tokenizer& tokenizer, std::string_view text, bool add_special = false) {
  Result<std::vector<int32_t>> ids = tokenizer.encode(text, {.add_special = add_special});
  REQUIRE_MESSAGE(ids.ok(), ids.error().message);
  return std::move(*ids);
}

/// The entries of a text's tokens.
inline std::vector<std::string> entries_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> out;
  for (const int32_t id : must_encode(tokenizer, text)) out.emplace_back(tokenizer.entry(id));
  return out;
}

/// Everything a stream says after a context, joined.
inline std::string streamed(const Tokenizer& tokenizer, std::span<const int32_t> context, std::span<const int32_t> ids,
                            bool skip_special = true) {
  const std::unique_ptr<Tokenizer::Stream> stream = tokenizer.stream(context, skip_special);
  std::string out;
  for (const int32_t id : ids) out += stream->push(id);
  out += stream->finish();
  return out;
}

}  // namespace decant::test
