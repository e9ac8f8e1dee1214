// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/child.h"

using namespace decant::test;

namespace {

void check_fails(const Words& words, const char* named, const Start& start = {}) {
  std::string line;
  for (const std::string& word : words) line += word + " ";
  CAPTURE(line);
  const Finished result = run_decant(words, start);
  CHECK(result.status == 1);
  CHECK(result.out.empty());
  CHECK(is_one_line(result.err));
  CAPTURE(result.err);
  CHECK(result.err.find(named) != std::string::npos);
}

}  // namespace

TEST_CASE("decant: a model that can't be read exits 1 with one line that names it") {
  const TempDir folder;
  folder.write("empty.gguf", "");
  folder.write("text.gguf", "this is no model\n");
  const std::string whole = read_file(fixture("gguf/llama-gqa-q8_0.gguf"));
  for (const size_t n : {size_t{3}, size_t{23}, size_t{1000}, whole.size() / 2, whole.size() - 1}) {
    folder.write("cut.gguf", whole.substr(0, n));
    check_fails({"run", "-m", folder.path("cut.gguf"), "hello"}, "cut.gguf");
    check_fails({"inspect", folder.path("cut.gguf")}, "cut.gguf");
  }
  std::filesystem::create_directory(folder.path("folder"));
  for (const char* name : {"nonesuch.gguf", "empty.gguf", "text.gguf", "folder"}) {
    check_fails({"run", "-m", folder.path(name), "hello"}, name);
    check_fails({"inspect", folder.path(name)}, name);
    check_fails({"tokenize", "-m", folder.path(name), "hello"}, name);
    check_fails({"logits", "-m", folder.path(name), "--ids", "1", "-o", folder.path("x.npy")}, name);
    check_fails({"convert", folder.path(name), folder.path("x.gguf")}, name);
  }
  check_fails({"run", "hello"}, "nonesuch", {.environment = {"DECANT_MODEL=/nonesuch"}});
  CHECK(!std::filesystem::exists(folder.path("x.npy")));
  CHECK(!std::filesystem::exists(folder.path("x.gguf")));
}

TEST_CASE("decant: what the model can't do exits 1 with one line that says why") {
  const std::string model = tiny_model();
  check_fails({"run", "-m", model, "--ids", "1,512"}, "512");
  check_fails({"logits", "-m", model, "--ids", "1,512", "-o", "/dev/null"}, "512");
  check_fails({"detokenize", "-m", model, "1,99999"}, "99999");
  check_fails({"run", "-m", model, "hello", "--ctx", "100000"}, "--ctx");
  check_fails({"run", "-m", model, "--ids", "1,2,3,4,5", "--ctx", "4"}, "--ctx");
  check_fails({"eval", "-m", model, "-f", model + "/config.json", "--window", "100000"}, "--window");
  check_fails({"eval", "-m", model, "-f", "/nonesuch.txt"}, "/nonesuch.txt");
  check_fails({"eval", "-m", model, "-f", "/dev/null"}, "/dev/null");
  check_fails({"eval", "-m", model, "-f", model}, model.c_str());
}

TEST_CASE("decant: an unknown instruction set exits 1 with the list of those there are") {
  check_fails({"run", "-m", tiny_model(), "hello", "--isa", "mmx"}, "reference");
  check_fails({"logits", "-m", tiny_model(), "--ids", "1", "-o", "/dev/null", "--isa", ""}, "reference");
}

TEST_CASE("decant: a file that can't be written exits 1 and leaves nothing behind") {
  const TempDir folder;
  check_fails({"logits", "-m", tiny_model(), "--ids", "1,2", "-o", folder.path("no/such/x.npy")}, "x.npy");
  check_fails({"logits", "-m", tiny_model(), "--ids", "1,2", "-o", "/dev/full"}, "/dev/full");
  check_fails({"logits", "-m", tiny_model(), "--ids", "1,2", "-o", folder.path()}, folder.path().c_str());
  check_fails({"convert", tiny_model(), "/dev/full"}, "/dev/full");
  check_fails({"convert", tiny_model(), folder.path("no/such/x.gguf")}, "x.gguf");
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(std::filesystem::is_character_file("/dev/full"));
}

TEST_CASE("decant: a full disk at standard output exits 1 with one line") {
  const Start full{.output_path = "/dev/full"};
  const std::string model = tiny_model();
  check_fails({"run", "-m", model, "hello", "-n", "5"}, "standard output", full);
  check_fails({"run", "-m", model, "hello", "-n", "5", "--json", "--seed", "1"}, "standard output", full);
  check_fails({"inspect", model}, "standard output", full);
  check_fails({"tokenize", "-m", model, "hello"}, "standard output", full);
  check_fails({"help"}, "standard output", full);
  check_fails({"help", "run"}, "standard output", full);
}

TEST_CASE("decant: a standard output that was never open exits 1 and writes into no other file") {
  check_fails({"run", "-m", tiny_model(), "hello", "-n", "5"}, "standard output", {.output_is_closed = true});
}

TEST_CASE("run: ends quietly when the reader of its text goes away") {
  for (const bool json : {false, true}) {
    Words words{"run", "-m", tiny_model(), "hello", "--temp", "0"};
    if (json) words.push_back("--json");
    Child child(words);
    child.shrink_output_pipe();
    child.close_output();
    const Finished result = child.finish();
    CHECK(result.status == 0);
    CHECK(result.err.empty());
  }
}

TEST_CASE("run: Ctrl-C ends a generation with the closing line and status 130") {
  // The bundled model: its text is so long that the signal always comes while it is being written.
  Child child({"run", "Once upon a time", "--temp", "0", "--json"});
  child.shrink_output_pipe();
  for (int i = 0; i < 3; ++i) CHECK(child.read_line().starts_with("{\"id\":"));
  child.interrupt(SIGINT);
  const Finished result = child.finish();
  CHECK(result.status == 130);
  CHECK(result.err.empty());
  REQUIRE(result.out.size() > 1);
  const std::string last = result.out.substr(result.out.rfind('\n', result.out.size() - 2) + 1);
  CHECK(last.starts_with("{\"finish_reason\":\"cancelled\""));
}

TEST_CASE("run: Ctrl-C and SIGTERM end a wait for the prompt") {
  for (const int signal : {SIGINT, SIGTERM}) {
    Child child({"run", "-m", tiny_model()}, {.input_stays_open = true});
    child.interrupt(signal);
    const Finished result = child.finish();
    CHECK(result.status == 128 + signal);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(result.err.find("cancelled") != std::string::npos);
  }
}
