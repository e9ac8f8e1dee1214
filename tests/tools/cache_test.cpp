// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/run_json.h"

using namespace decant::test;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Columns of the longest line of UTF-8.
size_t n_columns(const std::string& text) {
  size_t most = 0, n = 0;
  for (const char c : text) {
    if (c == '\n')
      n = 0;
    else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80)
      most = std::max(most, ++n);
  }
  return most;
}

}  // namespace

TEST_CASE("cache inspect: a session's model, types, tokens and sampling, as text and as JSON") {
  const TempDir folder;
  const std::string file = folder.path("s.kv");
  const Run run = run_json({"-m", tiny_model(), "hello", "-n", "90", "--session", file, "--kv-type", "q8,q4", "--seed",
                            "7", "--temp", "0.9", "--top-k", "40"});
  REQUIRE(run.ids.size() == 90);
  const int n_tokens = run.whole.at("n_prompt").get<int>() + 90;
  const Finished text = run_decant({"cache", "inspect", file});
  CHECK(text.status == 0);
  CHECK(text.err.empty());
  for (const std::string& part : {std::string("llama-gqa"), std::string("exact"), std::to_string(n_tokens) + " tokens",
                                  std::to_string(n_tokens - 1) + " tokens, q8 for K and q4 for V",
                                  std::string("temperature 0.9, top-k 40, seed 7"), std::string("2 of 64 tokens")}) {
    CAPTURE(part);
    CHECK(has(text.out, part));
  }
  const Finished line = run_decant({"cache", "inspect", file, "--json"});
  CHECK(std::count(line.out.begin(), line.out.end(), '\n') == 1);
  const Json json = Json::parse(line.out);
  CHECK(json.at("bytes") == std::filesystem::file_size(file));
  CHECK(json.at("model") == "llama-gqa");
  CHECK(json.at("k_type") == "q8");
  CHECK(json.at("v_type") == "q4");
  CHECK(json.at("sequences").at(0).at("n_tokens") == n_tokens - 1);
  CHECK(json.at("session").at("n_tokens") == n_tokens);
  CHECK(json.at("session").at("ids").size() == static_cast<size_t>(n_tokens));
  CHECK(json.at("session").at("sampling").at("seed") == 7);
}

TEST_CASE("cache stats: draws a session's bytes and blocks in lines that fit a terminal") {
  const TempDir folder;
  const std::string file = folder.path("s.kv");
  REQUIRE(run_decant({"run", "-m", tiny_model(), "hello", "-n", "90", "--temp", "0", "--session", file}).status == 0);
  const Finished short_one = run_decant({"cache", "stats", file});
  CHECK(short_one.status == 0);
  CHECK(short_one.err.empty());
  CHECK(has(short_one.out, "2 blocks"));
  CHECK(has(short_one.out, "blocks: █▌\n"));
  CHECK(n_columns(short_one.out) <= 100);

  // An endless text: what it no longer needs is gone, and the keys of its first tokens are kept beside.
  const Words endless{"--ctx", "300", "--window", "40", "-n", "500"};
  REQUIRE(run_decant(Words{"run", "-m", tiny_model(), "hello", "--session", folder.path("w.kv")} + endless).status ==
          0);
  const Finished long_one = run_decant({"cache", "stats", folder.path("w.kv")});
  CHECK(has(long_one.out, "·"));
  CHECK(has(long_one.out, "sinks"));
  CHECK(n_columns(long_one.out) <= 100);
  CHECK(has(run_decant({"cache", "inspect", folder.path("w.kv")}).out, "the last 40 "));
}

TEST_CASE("cache: what is no snapshot exits 1 with one line that names the file, and waits for nothing") {
  const TempDir folder;
  folder.write("empty.kv", "");
  folder.write("text.kv", std::string(5000, 'x'));
  std::filesystem::create_directory(folder.path("folder"));
  REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  REQUIRE(run_decant({"run", "-m", tiny_model(), "hello", "-n", "5", "--session", folder.path("s.kv")}).status == 0);
  const std::string whole = read_file(folder.path("s.kv"));
  const auto check_refused = [](const std::string& path) {
    for (const Words& what : {Words{"inspect"}, {"stats"}, {"inspect", "--json"}}) {
      const Finished result = run_decant(Words{"cache"} + what + Words{path});
      CAPTURE(path);
      CHECK(result.status == 1);
      CHECK(result.out.empty());
      CHECK(is_one_line(result.err));
      CHECK(has(result.err, path));
    }
  };
  for (const char* name : {"missing.kv", "empty.kv", "text.kv", "folder", "pipe", "missing/s.kv"})
    check_refused(folder.path(name));
  check_refused("/dev/null");
  check_refused(fixture("gguf/llama-gqa-q8_0.gguf"));
  for (const size_t n : {size_t{1}, size_t{100}, size_t{144}, size_t{700}, whole.size() / 2, whole.size() - 1}) {
    folder.write("cut.kv", whole.substr(0, n));
    check_refused(folder.path("cut.kv"));
  }
  for (size_t at = 5; at < whole.size(); at += whole.size() / 10) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    folder.replace("cut.kv", changed);
    check_refused(folder.path("cut.kv"));
  }
}

TEST_CASE("cache: a full disk at standard output exits 1 with one line") {
  const TempDir folder;
  REQUIRE(run_decant({"run", "-m", tiny_model(), "hello", "-n", "5", "--session", folder.path("s.kv")}).status == 0);
  for (const char* what : {"inspect", "stats"}) {
    const Finished result = run_decant({"cache", what, folder.path("s.kv")}, {.output_path = "/dev/full"});
    CHECK(result.status == 1);
    CHECK(is_one_line(result.err));
  }
}

TEST_CASE("run: --verbose draws the cache on standard error, after the closing line and beside JSON") {
  const Words words{"run", "-m", tiny_model(), "hello", "-n", "9", "--temp", "0"};
  const Finished plain = run_decant(words), verbose = run_decant(words + Words{"--verbose"});
  CHECK(verbose.out == plain.out);
  CHECK(verbose.err.starts_with("decant: "));
  CHECK(has(verbose.err, "KV cache: "));
  CHECK(has(verbose.err, "no limit"));
  CHECK(n_columns(verbose.err.substr(verbose.err.find('\n') + 1)) <= 100);
  CHECK(has(run_decant(words + Words{"--verbose", "--cache-bytes", "4M"}).err, "limit 4.00 MB"));
  const Run json = run_json(Words{words.begin() + 1, words.end()} + Words{"--verbose"});
  CHECK(json.ids.size() == 9);
  CHECK(has(json.err, "KV cache: "));
}

TEST_CASE("run: an endless text goes past the context, and a window that doesn't fit it is refused") {
  const Words words{"run", "-m", tiny_model(), "hello", "--temp", "0", "--ctx", "200", "--json"};
  const Run endless = read_run(run_decant(words + Words{"--window", "68", "-n", "450"}));
  CHECK(endless.status == 0);
  CHECK(endless.ids.size() == 450);
  const Finished wide = run_decant(words + Words{"--window", "69"});
  CHECK(wide.status == 1);
  CHECK(wide.out.empty());
  CHECK(is_one_line(wide.err));
  CHECK(has(wide.err, "201"));
  const Finished learned = run_decant({"run", "-m", tiny_model("gpt2"), "hello", "--window", "8"});
  CHECK(learned.status == 1);
  CHECK(is_one_line(learned.err));
}

TEST_CASE("eval: the divergence from an f32 cache is 0 for f32 and grows as types get smaller") {
  const Words words{"eval",     "-m", tiny_model(), "-f",    tiny_model() + "/config.json",
                    "--window", "64", "--kl",       "--json"};
  const auto kl = [&](const char* type) {
    const Finished result = run_decant(words + Words{"--kv-type", type});
    REQUIRE(result.status == 0);
    return Json::parse(result.out).at("kl_from_f32_cache").get<double>();
  };
  CHECK(kl("f32") == 0.0);
  const double f16 = kl("f16"), q8 = kl("q8"), q4 = kl("q4");
  CHECK(f16 > 0.0);
  CHECK(q8 > f16);
  CHECK(q4 > q8);
}
