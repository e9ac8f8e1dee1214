// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/child.h"

using namespace decant::test;

TEST_CASE("quantize: a packed file generates what its source does and inspect shows what it holds") {
  const TempDir folder;
  const std::string file = folder.path("model.dpk");
  for (const std::string& source : {tiny_model("llama-gqa"), fixture("gguf/llama-kmix.gguf")}) {
    CAPTURE(source);
    const Finished packed = run_decant({"quantize", "--packed", source, "-o", file});
    CAPTURE(packed.err);
    REQUIRE(packed.status == 0);
    CHECK(packed.out.empty());
    CHECK(packed.err.empty());
    const auto greedy = [](const std::string& model) {
      return run_decant({"run", "-m", model, "hello", "--temp", "0", "-n", "24"}).out;
    };
    CHECK(greedy(file) == greedy(source));

    const auto inspect = [](const std::string& model) {
      return nlohmann::json::parse(run_decant({"inspect", "--tensors", "--json", model}).out);
    };
    const nlohmann::json of_source = inspect(source), of_packed = inspect(file);
    CHECK(of_packed["format"] == "packed");
    for (const char* const key : {"architecture", "name", "n_params", "n_ctx", "vocab_size", "end_ids", "tied_head"})
      CHECK(of_packed[key] == of_source[key]);
    CHECK(of_packed["tensor_types"].dump().find("_T16") != std::string::npos);
    CHECK(of_packed["tensors"].size() >= 10);
  }
}

TEST_CASE("quantize: what can't be packed exits 1 with one line and leaves nothing behind") {
  const TempDir folder;
  const auto check_fails = [](const Words& words, const std::string& named) {
    const Finished result = run_decant(words);
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(result.err.find(named) != std::string::npos);
  };
  check_fails({"quantize", "--packed", "/nonesuch.gguf", "-o", folder.path("x.dpk")}, "/nonesuch.gguf");
  check_fails({"quantize", "--packed", tiny_model(), "-o", "/dev/full"}, "/dev/full");
  check_fails({"quantize", "--packed", tiny_model(), "-o", folder.path("no/such/x.dpk")}, "x.dpk");
  CHECK(std::filesystem::is_empty(folder.path()));

  const std::string file = folder.path("model.dpk");
  REQUIRE(run_decant({"quantize", "--packed", tiny_model(), "-o", file}).status == 0);
  check_fails({"quantize", "--packed", file, "-o", folder.path("x.dpk")}, "packed already");
  check_fails({"run", "-m", file, "hello", "--numerics", "reference"}, "reference numerics");
}

TEST_CASE("run: --verbose tells where the time of loading went, and whether the weights are mapped") {
  const TempDir folder;
  const std::string file = folder.path("model.dpk");
  REQUIRE(run_decant({"quantize", "--packed", tiny_model(), "-o", file}).status == 0);
  const auto told = [](const std::string& model) {
    return run_decant({"run", "-m", model, "hello", "-n", "1", "--verbose", "--threads", "2"}).err;
  };
  CHECK(told(file).find(" mapped by 2 threads)") != std::string::npos);
  CHECK(told(tiny_model()).find(" read by 2 threads)") != std::string::npos);
  for (const char* const part : {"loaded in ", "metadata ", "tokenizer ", "weights "})
    CHECK(told(file).find(part) != std::string::npos);
}
