// SPDX-License-Identifier: Apache-2.0

// Whatever the cache does to a sequence's memory, the logits keep their bits.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

constexpr int kGenerated = 40;

/// One model with a cache of one type; windows in `mistral`.
struct Setting {
  std::string model;
  KvType type;
};

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = [] {
    std::vector<Setting> list;
    for (int type = 0; type < kKvTypeCount; ++type)
      for (const char* const model : {"models/llama-gqa", "models/mistral"})
        list.push_back({model, static_cast<KvType>(type)});
    list.push_back({"gguf/llama-gqa-q8_0.gguf", KvType::f16});
    list.push_back({"models/gpt2", KvType::q8});
    return list;
  }();
  return all;
}

std::shared_ptr<const Model> model_of(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Model>> open;
  std::shared_ptr<const Model>& model = open[name];
  if (!model) model = open_model(fixture(name));
  return model;
}

EngineOptions options_of(const Setting& setting) {
  EngineOptions options;
  options.n_threads = 2;
  options.max_sequences = 4;
  options.max_step_tokens = 64;
  options.cache.block_tokens = 16;
  options.cache.k_type = options.cache.v_type = setting.type;
  return options;
}

std::unique_ptr<Engine> engine_of(const Setting& setting, const EngineOptions& options) {
  return must(Engine::create(model_of(setting.model), options));
}
std::unique_ptr<Engine> engine_of(const Setting& setting) { return engine_of(setting, options_of(setting)); }

std::vector<int32_t> prompt_of(const Setting& setting, int n, unsigned seed) {
  return random_ids(n, model_of(setting.model)->info().vocab_size, seed);
}

Request kept_request(std::vector<int32_t> prompt, int max_new_tokens = kGenerated) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = max_new_tokens;
  request.ignore_end = true;
  request.keep = true;
  return request;
}

/// The logits that chose each token of a sequence, until it pauses.
Logits generate(Engine& engine, SequenceId id) {
  Logits logits;
  logits.vocab_size = engine.model().info().vocab_size;
  while (!must(engine.info(id)).paused) {
    const StepReport report = must(engine.step());
    for (const LogitRows& rows : report.logits) {
      if (rows.sequence != id) continue;
      REQUIRE(rows.n_rows == 1);
      logits.values.insert(logits.values.end(), rows.logits, rows.logits + logits.vocab_size);
      ++logits.n_rows;
    }
  }
  return logits;
}

Logits generate(const Setting& setting, const std::vector<int32_t>& prompt) {
  const std::unique_ptr<Engine> engine = engine_of(setting);
  return generate(*engine, must(engine->submit(kept_request(prompt))));
}

Logits rows_of(const Logits& logits, int first, int n) {
  const auto vocab_size = static_cast<size_t>(logits.vocab_size);
  const auto begin = logits.values.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(first) * vocab_size);
  return {n, logits.vocab_size, {begin, begin + static_cast<ptrdiff_t>(static_cast<size_t>(n) * vocab_size)}};
}

/// All tokens of a sequence but the last n_less.
std::vector<int32_t> ids_of(const Engine& engine, SequenceId id, int n_less = 0) {
  const std::span<const int32_t> ids = must(engine.info(id)).ids;
  return {ids.begin(), ids.end() - n_less};
}

}  // namespace

TEST_CASE("cache: a forked sequence has the logits that it has when it is computed anew") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const std::vector<int32_t> prompt = prompt_of(setting, 37, 1);
    const std::unique_ptr<Engine> engine = engine_of(setting);
    const SequenceId a = must(engine->submit(kept_request(prompt, 5)));
    generate(*engine, a);
    const SequenceId b = must(engine->fork(a, must(engine->info(a)).sampling));
    for (const auto& [id, added] :
         {std::pair(a, std::vector<int32_t>{7, 8, 9}), std::pair(b, std::vector<int32_t>{10})}) {
      must(engine->extend(id, added, kGenerated));
      const Logits forked = generate(*engine, id);
      CHECK(forked == generate(setting, ids_of(*engine, id, kGenerated)));
    }
  }
}

TEST_CASE("cache: a truncated and regrown sequence has the logits of one that was never longer") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    for (const int rollback : {0, 64}) {
      EngineOptions options = options_of(setting);
      options.cache.rollback_tokens = rollback;
      const std::unique_ptr<Engine> engine = engine_of(setting, options);
      const std::vector<int32_t> prompt = prompt_of(setting, 70, 2);
      const SequenceId id = must(engine->submit(kept_request(prompt)));
      const Logits expected = generate(*engine, id);
      for (const int n : {109, 100, 71, 70}) {
        CAPTURE(n);
        must(engine->truncate(id, n));
        must(engine->extend(id, {}, 110 - n));
        CHECK(generate(*engine, id) == rows_of(expected, n - 70, 110 - n));
      }
      must(engine->truncate(id, 33));
      const std::vector<int32_t> other = prompt_of(setting, 9, 3);
      must(engine->extend(id, other, kGenerated));
      std::vector<int32_t> whole(prompt.begin(), prompt.begin() + 33);
      whole.insert(whole.end(), other.begin(), other.end());
      CHECK(generate(*engine, id) == generate(setting, whole));
    }
  }
}

TEST_CASE("cache: a prompt whose beginning is known has the logits of one that computes it all") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const std::unique_ptr<Engine> engine = engine_of(setting);
    const std::vector<int32_t> first = prompt_of(setting, 75, 4);
    const SequenceId a = must(engine->submit(kept_request(first)));
    const Logits own = generate(*engine, a);
    // The same prompt, one that parts in the middle of a block, one that goes on, one of another tenant.
    for (const int common : {75, 52, 16, 9}) {
      CAPTURE(common);
      std::vector<int32_t> prompt(first.begin(), first.begin() + common);
      if (common < 75) prompt.insert(prompt.end(), {1, 2, 3, 4, 5});
      const SequenceId b = must(engine->submit(kept_request(prompt)));
      const PrefixHit hit = must(engine->info(b)).prefix;
      CHECK(hit.n_known >= common - (common == 75));
      if (setting.model != "models/mistral") CHECK(hit.n_tokens == std::min(common, 74));
      CHECK(generate(*engine, b) == generate(setting, prompt));
      must(engine->cancel(b));
    }
    Request stranger = kept_request(first);
    stranger.prefix_salt = "another";
    const SequenceId c = must(engine->submit(stranger));
    CHECK(must(engine->info(c)).prefix.n_tokens == 0);
    CHECK(must(engine->info(c)).prefix.why == PrefixMiss::unknown);
    CHECK(generate(*engine, c) == own);
    // While one is still growing, the other takes what is there.
    const std::vector<int32_t> long_prompt = prompt_of(setting, 100, 5);
    const SequenceId d = must(engine->submit(kept_request(long_prompt)));
    for (int i = 0; i < 10; ++i) must(engine->step());
    const SequenceId e = must(engine->submit(kept_request(long_prompt)));
    if (setting.model != "models/mistral") CHECK(must(engine->info(e)).prefix.n_tokens == 99);
    const Logits shared = generate(*engine, e);
    CHECK(shared == generate(setting, long_prompt));
    generate(*engine, d);
    CHECK(ids_of(*engine, d) == ids_of(*engine, e));
  }
}

TEST_CASE("cache: what was evicted and computed again has the logits of what was kept") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const std::vector<int32_t> prompt = prompt_of(setting, 75, 6);
    const Logits expected = generate(setting, prompt);
    EngineOptions options = options_of(setting);
    options.cache.limit_bytes = engine_of(setting)->cache_bytes_needed(16) * 10;
    const std::unique_ptr<Engine> engine = engine_of(setting, options);
    bool evicted = false;
    for (unsigned round = 0; round < 4; ++round) {
      const SequenceId a = must(engine->submit(kept_request(prompt)));
      const PrefixMiss why = must(engine->info(a)).prefix.why;
      evicted = evicted || why == PrefixMiss::evicted || why == PrefixMiss::window;
      CHECK(generate(*engine, a) == expected);
      must(engine->cancel(a));
      if (round % 2 == 1) continue;
      const SequenceId b = must(engine->submit(kept_request(prompt_of(setting, 75, 7 + round))));
      generate(*engine, b);
      must(engine->cancel(b));
    }
    CHECK(evicted);
    CHECK(engine->cache_stats().prefixes.n_evicted_blocks > 0);
    CHECK(engine->cache_stats().reserved_bytes <= options.cache.limit_bytes);
  }
}

TEST_CASE("cache: windows that gave blocks back have the logits of windows that kept all") {
  for (int type = 0; type < kKvTypeCount; ++type) {
    const Setting setting{"models/mistral", static_cast<KvType>(type)};
    CAPTURE(std::string(to_string(setting.type)));
    EngineOptions keeps_all = options_of(setting);
    keeps_all.cache.rollback_tokens = 1 << 20;
    const std::vector<int32_t> prompt = prompt_of(setting, 90, 8);
    const std::unique_ptr<Engine> kept = engine_of(setting, keeps_all), freed = engine_of(setting);
    for (const bool hit : {false, true}) {
      CAPTURE(hit);
      const SequenceId a = must(kept->submit(kept_request(prompt))), b = must(freed->submit(kept_request(prompt)));
      const Logits expected = generate(*kept, a);
      CHECK(generate(*freed, b) == expected);
      if (!hit)
        CHECK(freed->cache_stats().unique_bytes + freed->cache_stats().shared_bytes <
              kept->cache_stats().unique_bytes + kept->cache_stats().shared_bytes);
      // A truncate beyond the window: what was given back is computed again.
      for (const int n : {100, 91, 40}) {
        must(kept->truncate(a, n));
        must(freed->truncate(b, n));
        must(kept->extend(a, {}, 20));
        must(freed->extend(b, {}, 20));
        CHECK(generate(*kept, a) == generate(*freed, b));
      }
      must(kept->cancel(a));
      must(freed->cancel(b));
    }
    CHECK(kept->cache_stats().prefixes.n_hits > 0);
  }
}

TEST_CASE("cache: a restored sequence goes on to the logits of one that was never interrupted") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const TempDir folder;
    const std::string file = folder.path("restored.kv");
    const std::vector<int32_t> prompt = prompt_of(setting, 53, 9);
    Request request = kept_request(prompt);
    request.sampling = {};
    request.sampling.seed = 77;
    request.sampling.top_k = 50;
    request.sampling.repetition_penalty = 1.1F;
    const std::unique_ptr<Engine> whole = engine_of(setting);
    const SequenceId a = must(whole->submit(request));
    const Logits expected = generate(*whole, a);
    const std::unique_ptr<Engine> before = engine_of(setting);
    request.max_new_tokens = 13;
    const SequenceId b = must(before->submit(request));
    generate(*before, b);
    must(before->save(b, file));
    EngineOptions options = options_of(setting);
    options.n_threads = 1;
    options.isa = "reference";
    const std::unique_ptr<Engine> after = engine_of(setting, options);
    const SequenceId c = must(after->restore(file));
    must(after->extend(c, {}, kGenerated - 13));
    CHECK(generate(*after, c) == rows_of(expected, 13, kGenerated - 13));
    CHECK(ids_of(*after, c) == ids_of(*whole, a));
  }
}

TEST_CASE("cache: restored prefixes are known, and have the logits of computed ones") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const TempDir folder;
    const std::string file = folder.path("prefixes.kv");
    const std::vector<int32_t> prompt = prompt_of(setting, 75, 10);
    const std::unique_ptr<Engine> before = engine_of(setting);
    const SequenceId a = must(before->submit(kept_request(prompt)));
    const Logits expected = generate(*before, a);
    must(before->cancel(a));
    must(before->save_prefixes(file));
    const std::unique_ptr<Engine> after = engine_of(setting);
    CHECK(must(after->restore_prefixes(file)) == before->cache_stats().prefixes.n_tokens);
    const SequenceId b = must(after->submit(kept_request(prompt)));
    if (setting.model != "models/mistral") CHECK(must(after->info(b)).prefix.n_tokens == 74);
    CHECK(generate(*after, b) == expected);
    CHECK(must(after->restore_prefixes(file)) == before->cache_stats().prefixes.n_tokens);
  }
}

TEST_CASE("cache: a snapshot for something else is a mismatch that names both sides, and changes nothing") {
  const TempDir folder;
  const std::string file = folder.path("mismatch.kv");
  const Setting setting{"models/llama-gqa", KvType::q8};
  const std::unique_ptr<Engine> engine = engine_of(setting);
  const SequenceId a = must(engine->submit(kept_request(prompt_of(setting, 20, 11), 3)));
  generate(*engine, a);
  must(engine->save(a, file));
  const auto refusal = [&](const Setting& other, auto change) {
    EngineOptions options = options_of(other);
    change(options);
    const std::unique_ptr<Engine> stranger = engine_of(other, options);
    const Result<SequenceId> restored = stranger->restore(file);
    CHECK(code_of(restored) == ErrorCode::mismatch);
    CHECK(stranger->n_sequences() == 0);
    CHECK(stranger->cache_stats().reserved_bytes == 0);
    return restored ? std::string() : restored.error().message;
  };
  CHECK(refusal({"models/llama-gqa", KvType::f16}, [](EngineOptions&) {}).find("q8/q8") != std::string::npos);
  CHECK(refusal({"models/llama-gqa", KvType::f16}, [](EngineOptions&) {}).find("f16/f16") != std::string::npos);
  const std::string blocks = refusal(setting, [](EngineOptions& o) { o.cache.block_tokens = 32; });
  CHECK(blocks.find("16") != std::string::npos);
  CHECK(blocks.find("32") != std::string::npos);
  CHECK(refusal({"models/mistral", KvType::q8}, [](EngineOptions&) {}) != "");
  CHECK(code_of(engine->restore(file + ".missing")) == ErrorCode::io);
  CHECK(code_of(engine->restore_prefixes(file)) == ErrorCode::mismatch);
  CHECK(engine->n_sequences() == 1);
}

TEST_CASE("cache: a model's fingerprint depends on every weight, and on nothing about how it was opened") {
  namespace fs = std::filesystem;
  const TempDir folder;
  const fs::path copy = folder.path("model");
  fs::copy(fixture("models/llama-gqa"), copy);
  const auto fingerprint = [](const std::string& path, int n_threads, Numerics numerics) {
    ModelOptions options;
    options.n_threads = n_threads;
    options.numerics = numerics;
    return must(Model::open(path, options))->info().fingerprint;
  };
  const std::string expected = fingerprint(fixture("models/llama-gqa"), 1, Numerics::exact);
  CHECK(expected.size() == 16);
  CHECK(fingerprint(copy.string(), 3, Numerics::reference) == expected);
  CHECK(fingerprint(fixture("models/mistral"), 1, Numerics::exact) != expected);
  const fs::path weights = copy / "model.safetensors";
  const auto size = static_cast<std::streamoff>(fs::file_size(weights));
  for (const std::streamoff at : {size - 1, size / 2, size / 3}) {
    std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 1));
    file.close();
    CHECK(fingerprint(copy.string(), 2, Numerics::exact) != expected);
    std::fstream again(weights, std::ios::in | std::ios::out | std::ios::binary);
    again.seekp(at);
    again.put(static_cast<char>(byte));
  }
  CHECK(fingerprint(copy.string(), 2, Numerics::exact) == expected);
}

TEST_CASE("cache: an endless text has the same bits for any block size, chunk, threads and ISA, in flat memory") {
  for (const Setting& setting : settings()) {
    if (setting.model == "models/gpt2") continue;
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const std::vector<int32_t> prompt = prompt_of(setting, 200, 12);
    Logits expected;
    for (const int variant : {0, 1, 2, 3}) {
      CAPTURE(variant);
      EngineOptions options = options_of(setting);
      options.cache.block_tokens = std::vector<int>{16, 48, 256, 128}[static_cast<size_t>(variant)];
      options.prefill_chunk = std::vector<int>{0, 1, 7, 50}[static_cast<size_t>(variant)];
      options.n_threads = 1 + variant % 2;
      if (variant == 3) options.isa = "reference";
      const std::unique_ptr<Engine> engine = engine_of(setting, options);
      Request request = kept_request(prompt, 300);
      request.recent_window = 100;
      const SequenceId id = must(engine->submit(request));
      const Logits logits = generate(*engine, id);
      CHECK(must(engine->info(id)).n_tokens == 500);
      if (variant == 0) expected = logits;
      CHECK(logits == expected);
      CHECK(engine->cache_stats().used_bytes <=
            engine->cache_bytes_needed(100 + 4 + 128 + 2 * options.cache.block_tokens));
      CHECK(engine->cache_stats().sink_bytes > 0);
    }
  }
}

TEST_CASE("cache: an endless text can be forked, cut within its window, saved and restored") {
  const Setting setting{"models/llama-gqa", KvType::f16};
  const TempDir folder;
  const std::string file = folder.path("endless.kv");
  const std::unique_ptr<Engine> engine = engine_of(setting);
  Request request = kept_request(prompt_of(setting, 150, 13), 250);
  request.recent_window = 64;
  const SequenceId a = must(engine->submit(request));
  generate(*engine, a);
  must(engine->save(a, file));
  const SequenceId b = must(engine->fork(a, must(engine->info(a)).sampling));
  const SequenceId c = must(engine->restore(file));
  must(engine->extend(a, {}, 200));
  const Logits expected = generate(*engine, a);
  must(engine->extend(b, {}, 200));
  CHECK(generate(*engine, b) == expected);
  must(engine->extend(c, {}, 200));
  CHECK(generate(*engine, c) == expected);
  const int n = must(engine->info(a)).n_tokens;
  CHECK(code_of(engine->truncate(a, 100)) == ErrorCode::invalid_argument);
  must(engine->truncate(a, n - 5));
  must(engine->extend(a, {}, 5));
  CHECK(generate(*engine, a) == rows_of(expected, expected.n_rows - 5, 5));
  CHECK(code_of(engine->remove(a, 0, 1)) == ErrorCode::invalid_argument);
}

TEST_CASE("cache: a removed range shifts the rest to the same bits for any block size, threads and ISA") {
  for (const Setting& setting : settings()) {
    CAPTURE(setting.model);
    CAPTURE(std::string(to_string(setting.type)));
    const std::vector<int32_t> prompt = prompt_of(setting, 100, 14);
    Logits expected;
    for (const int variant : {0, 1, 2}) {
      EngineOptions options = options_of(setting);
      options.cache.block_tokens = std::vector<int>{16, 80, 256}[static_cast<size_t>(variant)];
      options.cache.rollback_tokens = 100;
      options.n_threads = 1 + variant;
      if (variant == 1) options.isa = "reference";
      const std::unique_ptr<Engine> engine = engine_of(setting, options);
      const SequenceId a = must(engine->submit(kept_request(prompt, 3)));
      generate(*engine, a);
      const SequenceId fork = must(engine->fork(a, must(engine->info(a)).sampling));
      if (setting.model == "models/gpt2") {
        CHECK(code_of(engine->remove(a, 10, 20)) == ErrorCode::unsupported);
        continue;
      }
      CHECK(code_of(engine->remove(a, 90, 13)) == ErrorCode::invalid_argument);
      must(engine->remove(a, 10, 23));
      must(engine->remove(a, 40, 5));
      CHECK(must(engine->info(a)).n_tokens == 103 - 28);
      must(engine->extend(a, {}, 20));
      const Logits logits = generate(*engine, a);
      if (variant == 0) expected = logits;
      CHECK(logits == expected);
      // The fork keeps what it had.
      must(engine->extend(fork, {}, kGenerated));
      const Logits forked = generate(*engine, fork);
      CHECK(forked == generate(setting, ids_of(*engine, fork, kGenerated)));
    }
  }
}

TEST_CASE("cache: requests say how much of them was known, and why not more") {
  const Setting setting{"models/llama-gqa", KvType::f16};
  const std::unique_ptr<Engine> engine = engine_of(setting);
  const std::vector<int32_t> prompt = prompt_of(setting, 40, 15);
  const auto hit_of = [&](Request request) {
    const SequenceId id = must(engine->submit(std::move(request)));
    generate(*engine, id);
    const PrefixHit hit = must(engine->info(id)).prefix;
    must(engine->cancel(id));
    return hit;
  };
  CHECK(hit_of(kept_request(prompt, 1)).why == PrefixMiss::unknown);
  CHECK(hit_of(kept_request(prompt, 1)).why == PrefixMiss::none);
  Request other = kept_request(prompt, 1);
  other.prompt[20] = other.prompt[20] == 1 ? 2 : 1;
  const PrefixHit parted = hit_of(other);
  CHECK(parted.n_tokens == 20);
  CHECK(parted.why == PrefixMiss::diverged);
  Request alone = kept_request(prompt, 1);
  alone.share_prefix = false;
  CHECK(hit_of(alone).why == PrefixMiss::off);
  engine->forget_prefixes();
  CHECK(hit_of(kept_request(prompt, 1)).why == PrefixMiss::unknown);
  CHECK(engine->cache_stats().prefixes.n_lookups == 4);
  CHECK(engine->cache_stats().prefixes.n_hits == 2);
  CHECK(engine->cache_stats().prefixes.n_hit_tokens == 39 + 20);
}

}  // namespace decant::test
