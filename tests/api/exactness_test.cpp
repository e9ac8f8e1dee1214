// SPDX-License-Identifier: Apache-2.0
// The same bits whatever the threads, chunks, batch, block size, ISA and the caller's floating-point state.
#include <map>
#include <sstream>

#include <doctest/doctest.h>
#include <xmmintrin.h>

#include "decant/isa.h"

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden.h"

namespace decant::test {

namespace {

const std::string kModels[] = {"models/llama-mha",
                               "models/llama-gqa",
                               "models/mistral",
                               "models/qwen2",
                               "models/qwen3",
                               "models/gpt2",
                               "gguf/llama-gqa-f16.gguf",
                               "gguf/llama-gqa-q8_0.gguf",
                               "gguf/llama-gqa-q4_0.gguf",
                               "gguf/qwen2-q8_0.gguf",
                               "gguf/llama-kmix.gguf",
                               "gguf/llama-legacymix.gguf"};

constexpr int kLength = 150;  // more than one chunk of attention

struct Case {
  std::shared_ptr<const Model> model;
  std::vector<int32_t> ids;
  Logits expected;  ///< one thread, all at once, the reference kernels

  explicit Case(const std::string& name)
      : model(open_model(fixture(name))),
        ids(random_ids(kLength, model->info().vocab_size, 7)),
        expected(prompt_logits(model, ids, options())) {}

  static EngineOptions options() {
    EngineOptions options = logits_options(kLength);
    options.isa = "reference";
    return options;
  }
};

}  // namespace

TEST_CASE("exact: threads, chunks, block sizes and ISA change no bit") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Case c(name);
    for (const Isa isa : available_isas()) {
      CAPTURE(to_string(isa));
      EngineOptions options = Case::options();
      options.isa = to_string(isa);
      for (const int n_threads : {1, 2, 3})
        for (const int chunk : {1, 7, kLength}) {
          if (n_threads == 3 && chunk == 1)
            continue;  // many tiny phases for more threads than cores: slow, and nothing new
          CAPTURE(n_threads);
          CAPTURE(chunk);
          options.n_threads = n_threads;
          options.prefill_chunk = chunk;
          CHECK(prompt_logits(c.model, c.ids, options) == c.expected);
        }
      for (const int block_tokens : {32, 64, 256}) {
        CAPTURE(block_tokens);
        options.n_threads = 2;
        options.prefill_chunk = 16;
        options.cache.block_tokens = block_tokens;
        CHECK(prompt_logits(c.model, c.ids, options) == c.expected);
      }
    }
  }
}

TEST_CASE("exact: a sequence in a batch has the logits that it has alone") {
  for (const std::string& name : kModels) {
    CAPTURE(name);
    const Case c(name);
    std::vector<std::vector<int32_t>> prompts;
    for (const int n : {3, 31, 64, 97})
      prompts.push_back(random_ids(n, c.model->info().vocab_size, static_cast<uint32_t>(n)));
    prompts.insert(prompts.begin() + 2, c.ids);
    for (const int chunk : {1, 7, 40}) {
      CAPTURE(chunk);
      EngineOptions options = logits_options(128);
      options.n_threads = 2;
      options.max_sequences = 5;
      options.prefill_chunk = chunk;
      const std::vector<Logits> together = batch_logits(c.model, prompts, options);
      CHECK(together[2] == c.expected);
      for (size_t i = 0; i < prompts.size(); ++i)
        CHECK(together[i] == prompt_logits(c.model, prompts[i], logits_options(static_cast<int>(prompts[i].size()))));
    }
  }
}

TEST_CASE("exact: a cache of every type gives the same bits for every ISA, chunk, thread count and block size") {
  const std::vector<std::pair<KvType, KvType>> types = {
      {KvType::f16, KvType::f16}, {KvType::bf16, KvType::bf16},         {KvType::q8, KvType::q8},
      {KvType::q4, KvType::q4},   {KvType::q4_plain, KvType::q4_plain}, {KvType::q8, KvType::q4}};
  for (const std::string name : {"models/llama-gqa", "models/mistral", "gguf/llama-gqa-q8_0.gguf"}) {
    CAPTURE(name);
    const Case c(name);
    for (const auto& [k_type, v_type] : types) {
      CAPTURE(std::string(to_string(k_type)));
      CAPTURE(std::string(to_string(v_type)));
      EngineOptions options = Case::options();
      options.cache.k_type = k_type;
      options.cache.v_type = v_type;
      const Logits expected = prompt_logits(c.model, c.ids, options);
      CHECK_FALSE(expected == c.expected);
      for (const Isa isa : available_isas())
        for (const int chunk : {1, 33, kLength}) {
          options.isa = to_string(isa);
          options.prefill_chunk = chunk;
          options.n_threads = 2;
          options.cache.block_tokens = chunk == 33 ? 48 : 256;
          CHECK(prompt_logits(c.model, c.ids, options) == expected);
        }
    }
  }
}

TEST_CASE("exact: a long context shared out among threads gives the bits of one thread") {
  const std::shared_ptr<const Model> model = open_model(fixture("gguf/llama-gqa-q8_0.gguf"));
  const int n = model->info().n_ctx;
  REQUIRE(n >= 512);
  const std::vector<int32_t> ids = random_ids(n, model->info().vocab_size, 3);
  EngineOptions options = logits_options(64);
  options.prefill_chunk = 64;
  const Logits expected = prompt_logits(model, ids, options);
  options.n_threads = 3;
  options.prefill_chunk = 1;
  CHECK(prompt_logits(model, ids, options) == expected);
}

TEST_CASE("exact: the caller's rounding mode and flush-to-zero change nothing and come back") {
  for (const std::string name : {"models/llama-gqa", "gguf/llama-kmix.gguf", "models/gpt2"}) {
    CAPTURE(name);
    const Case c(name);
    const unsigned before = _mm_getcsr();
    for (const unsigned rounding : {0x0000U, 0x2000U, 0x4000U, 0x6000U})
      for (const unsigned flush : {0x0000U, 0x8040U}) {
        CAPTURE(rounding);
        CAPTURE(flush);
        EngineOptions options = logits_options(kLength);
        options.n_threads = 2;
        const unsigned state = 0x1F80U | rounding | flush;
        _mm_setcsr(state);
        const Logits logits = prompt_logits(open_model(fixture(name)), c.ids, options);
        const unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        CHECK((after & ~0x3FU) == state);  // exception flags aside
        CHECK(logits == c.expected);
      }
  }
}

TEST_CASE("exact: the logits of a fixed set are the committed ones") {
  std::map<std::string, std::string> golden = read_golden(std::string(DECANT_GOLDEN_DIR) + "/logits.txt");
  CHECK(golden.size() == std::size(kModels) * kKvTypeCount);
  for (const std::string& name : kModels) {
    const Case c(name);
    for (int t = 0; t < kKvTypeCount; ++t) {
      const auto type = static_cast<KvType>(t);
      EngineOptions options = logits_options(kLength);
      options.cache.k_type = options.cache.v_type = type;
      std::ostringstream hash;
      hash << std::hex << hash_bits(prompt_logits(c.model, c.ids, options).values);
      const std::string key = name + " " + to_string(type);
      CHECK(key + " " + hash.str() == key + " " + golden[key]);
    }
  }
}

}  // namespace decant::test
