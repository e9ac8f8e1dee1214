// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/run_json.h"

using namespace decant::test;

namespace {

using Ids = std::vector<int>;

/// A fixture model without an end token: its texts are as long as is asked for.
class UnendingModel {
 public:
  explicit UnendingModel(const std::string& name = "llama-gqa") {
    folder_.link_all(tiny_model(name));
    Json config = read_json(tiny_model(name) + "/config.json");
    config.erase("eos_token_id");
    folder_.replace("config.json", config.dump());
  }
  std::string path() const { return folder_.path(); }

 private:
  TempDir folder_;
};

/// Everything but the times.
bool same_tokens(const std::vector<Json>& a, const std::vector<Json>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].at("id") != b[i].at("id") || a[i].at("logprob") != b[i].at("logprob")) return false;
  return true;
}

std::vector<Json> joined(const Run& a, const Run& b) {
  std::vector<Json> tokens = a.tokens;
  tokens.insert(tokens.end(), b.tokens.begin(), b.tokens.end());
  return tokens;
}

/// A session's tokens, as the file has them.
Ids ids_of(const std::string& path) {
  const Finished shown = run_decant({"cache", "inspect", "--json", path});
  REQUIRE(shown.status == 0);
  return Json::parse(shown.out).at("session").at("ids");
}

Ids tokenized(const std::string& text, const Words& more = {}) {
  return Json::parse(run_decant(Words{"tokenize", "-m", tiny_model(), "--json", text} + more).out).at("ids");
}

const Words kSampled{"--seed", "11", "--temp", "0.9", "--top-p", "0.95", "--repeat-penalty", "1.2"};

}  // namespace

TEST_CASE("session: a text goes on to the same tokens in another process, whatever type, threads and kernels") {
  const Words model{"-m", tiny_model()};
  for (const char* type : {"f32", "f16", "bf16", "q8", "q4", "q4_plain", "q8,q4"}) {
    CAPTURE(type);
    const TempDir folder;
    const Words session{"--session", folder.path("s.kv")};
    const Words begin = model + kSampled + Words{"Far away", "--kv-type", type};
    const Run whole = run_json(begin + Words{"-n", "40"});
    REQUIRE(whole.ids.size() == 40);
    const Run first = run_json(begin + session + Words{"-n", "20", "--threads", "1"});
    const Run second = run_json(model + session + Words{"", "-n", "20", "--threads", "2", "--isa", "reference"});
    REQUIRE(second.status == 0);
    CHECK(same_tokens(joined(first, second), whole.tokens));
  }
}

TEST_CASE("session: a text goes on to the same tokens with windows, learned positions and weights of other numerics") {
  for (const auto& [name, numerics] : {std::pair("mistral", "exact"), {"gpt2", "exact"}, {"qwen3", "reference"}}) {
    CAPTURE(name);
    const TempDir folder;
    const UnendingModel unending(name);
    const Words model{"-m", unending.path()}, session{"--session", folder.path("s.kv")};
    const Words begin = model + kSampled + Words{"Far away, in the middle of it", "--numerics", numerics};
    const Run whole = run_json(begin + Words{"-n", "60"});
    REQUIRE(whole.ids.size() == 60);
    const Run first = run_json(begin + session + Words{"-n", "25"});
    const Run second = run_json(model + session + Words{"", "-n", "35"});
    REQUIRE(second.status == 0);
    CHECK(same_tokens(joined(first, second), whole.tokens));
  }
}

TEST_CASE("session: the texts of its runs, joined, are that of one run, characters broken off in between included") {
  const Words model{"-m", tiny_model("gpt2")}, begin{"hello", "--seed", "2", "--temp", "1"};
  const TempDir folder;
  const auto run = [&](const Words& words, const char* file) {
    const Finished result = run_decant(Words{"run", "--session", folder.path(file)} + model + words);
    CHECK(result.status == 0);
    return result.out;
  };
  const std::string whole = run(begin + Words{"-n", "24"}, "whole.kv");
  bool broken_off = false;
  for (int n = 1; n < 24; ++n) {
    CAPTURE(n);
    const std::string file = std::to_string(n) + ".kv";
    const std::string first = run(begin + Words{"-n", std::to_string(n)}, file.c_str());
    const std::string second = run({"", "-n", std::to_string(24 - n)}, file.c_str());
    CHECK(first + second == whole);
    const Finished alone = run_decant(Words{"run"} + model + begin + Words{"-n", std::to_string(n)});
    broken_off = broken_off || alone.out != first;
  }
  CHECK(broken_off);
}

TEST_CASE("session: an endless text goes on to the same tokens, penalties on tokens long ago included") {
  const UnendingModel unending;
  const Words model{"-m", unending.path(), "--ctx", "200"}, endless{"Far away", "--window", "40"};
  for (const char* type : {"f16", "q4"}) {
    CAPTURE(type);
    const Words begin = model + kSampled + endless + Words{"--kv-type", type};
    const Run whole = run_json(begin + Words{"-n", "700"});
    REQUIRE(whole.ids.size() == 700);
    for (const int n : {7, 450}) {
      CAPTURE(n);
      const TempDir folder;
      const Words session{"--session", folder.path("s.kv")};
      const Run first = run_json(begin + session + Words{"-n", std::to_string(n)});
      const Run second = run_json(model + session + Words{"", "-n", std::to_string(700 - n), "--isa", "reference"});
      REQUIRE(second.status == 0);
      CHECK(same_tokens(joined(first, second), whole.tokens));
    }
  }
}

TEST_CASE("session: a prompt that was only computed, and goes on later, draws the same tokens") {
  for (const Words& window : {Words{}, {"--window", "40"}}) {
    const TempDir folder;
    const Words model{"-m", tiny_model(), "--ctx", "300"}, session{"--session", folder.path("s.kv")};
    REQUIRE(run_json(model + session + kSampled + window + Words{"Far away", "-n", "180"}).status == 0);
    std::filesystem::copy_file(folder.path("s.kv"), folder.path("copy.kv"));
    const Run none = run_json(model + session + Words{"the middle", "-n", "0"});
    CHECK(none.ids.empty());
    const Run later = run_json(model + session + Words{"", "-n", "12"});
    const Run at_once = run_json(model + Words{"--session", folder.path("copy.kv"), "the middle", "-n", "12"});
    REQUIRE(at_once.ids.size() == 12);
    CHECK(same_tokens(later.tokens, at_once.tokens));
  }
}

TEST_CASE("session: an empty prompt adds nothing, and a prompt its tokens without a begin token") {
  const TempDir folder;
  const Words options{"-m", tiny_model(), "--temp", "0", "-n", "5"}, session{"--session", folder.path("s.kv")};
  const Run first = run_json(options + session + Words{"Far away"});
  const Ids begin = tokenized("Far away");
  CHECK(ids_of(folder.path("s.kv")) == begin + first.ids);
  const Run second = run_json(options + session + Words{""});
  CHECK(second.whole.at("n_prompt") == 0);
  CHECK(second.whole.at("n_session") == begin.size() + 5);
  CHECK(ids_of(folder.path("s.kv")) == begin + first.ids + second.ids);

  const Ids prompt = tokenized(" there", {"--no-special"});
  REQUIRE(prompt.size() < tokenized(" there").size());
  const Run third = run_json(options + session + Words{" there"});
  const Ids all = begin + first.ids + second.ids + prompt;
  CHECK(third.whole.at("n_prompt") == prompt.size());
  CHECK(ids_of(folder.path("s.kv")) == all + third.ids);
  CHECK(third.ids == run_json(options + Words{"--ids", join(all)}).ids);
  const Run fourth = run_json(options + session + Words{"--ids", "1,2,3"});
  CHECK(fourth.ids == run_json(options + Words{"--ids", join(all + third.ids + Ids{1, 2, 3})}).ids);
}

TEST_CASE("session: without a prompt, an empty standard input goes on too, and a line of it is added") {
  const TempDir folder;
  const Words options{"-m", tiny_model(), "--temp", "0", "-n", "4", "--session", folder.path("s.kv")};
  CHECK(run_json(options + Words{"hello"}).whole.at("n_session") == 0);
  CHECK(run_json(options).whole.at("n_prompt") == 0);
  CHECK(run_json(options, {.input = "\n"}).whole.at("n_prompt") == 0);
  CHECK(run_json(options, {.input = " there\n"}).whole.at("n_prompt") == tokenized(" there", {"--no-special"}).size());
}

TEST_CASE("session: sampling is the session's own unless it is given, and is kept then") {
  const TempDir folder;
  const Words words{"-m", tiny_model(), "--session", folder.path("s.kv"), "-n", "2", ""};
  const auto sampling = [&] {
    return Json::parse(run_decant({"cache", "inspect", "--json", folder.path("s.kv")}).out)
        .at("session")
        .at("sampling");
  };
  REQUIRE(run_json(words + kSampled).status == 0);
  const Json begun = sampling();
  CHECK(begun.at("seed") == 11);
  REQUIRE(run_json(words).status == 0);
  CHECK(sampling() == begun);
  REQUIRE(run_json(words + Words{"--temp", "0.5", "--seed", "18446744073709551615"}).status == 0);
  CHECK(sampling().at("temperature") == 0.5);
  CHECK(sampling().at("seed") == 18446744073709551615U);
  CHECK(sampling().at("repeat_penalty") == begun.at("repeat_penalty"));
}

TEST_CASE("session: what a stop string ended goes on after it") {
  const TempDir folder;
  const Words model{"-m", tiny_model("gpt2")}, session{"--session", folder.path("s.kv")};
  const Words begin = model + Words{"hello", "--temp", "0"};
  const Run whole = run_json(begin + Words{"-n", "40"});
  REQUIRE(whole.ids.size() == 40);
  std::string stop;
  for (size_t i = 10; i < 30 && stop.empty(); ++i)
    if (const auto text = whole.tokens[i].at("text").get<std::string>(); text.find("\uFFFD") == std::string::npos)
      stop = text;
  REQUIRE(!stop.empty());
  const Run first = run_json(begin + session + Words{"-n", "40", "--stop", stop});
  CHECK(first.whole.at("finish_reason") == "stop");
  REQUIRE(first.ids.size() < 40);
  const Run second = run_json(model + session + Words{"", "-n", std::to_string(40 - first.ids.size())});
  CHECK(same_tokens(joined(first, second), whole.tokens));
}

TEST_CASE("session: a text that ended goes on after its end token") {
  const TempDir folder;
  const Words options{"-m", tiny_model("mistral"), "--temp", "0"}, session{"--session", folder.path("s.kv")};
  const Run first = run_json(options + session + Words{"hello"});
  REQUIRE(first.whole.at("finish_reason") == "stop");
  const Ids before = ids_of(folder.path("s.kv"));
  CHECK(before.back() == 2);
  const Run second = run_json(options + session + Words{"", "-n", "6"});
  REQUIRE(!second.ids.empty());
  CHECK(second.ids == run_json(options + Words{"--ids", join(before), "-n", "6"}).ids);
}

TEST_CASE("session: in a full context nothing follows, and that is said") {
  const TempDir folder;
  const Words words{"-m", tiny_model(), "--temp", "0", "--session", folder.path("s.kv")};
  REQUIRE(run_json(words + Words{"--ctx", "12", "hello"}).whole.at("finish_reason") == "length");
  const Run full = run_json(words + Words{"--ctx", "12", ""});
  CHECK(full.status == 0);
  CHECK(full.ids.empty());
  CHECK(is_one_line(full.err));
  CHECK(full.err.find("12") != std::string::npos);
  CHECK(run_json(words + Words{"--ctx", "16", ""}).ids.size() == 4);
}

TEST_CASE("session: Ctrl-C saves the text as far as it came, and it goes on from there") {
  const TempDir folder;
  const Words session{"--session", folder.path("s.kv")}, begin{"Once upon a time", "--temp", "0.8", "--seed", "5"};
  Child child(Words{"run", "--json"} + begin + session);
  child.shrink_output_pipe();
  std::string lines;
  for (int i = 0; i < 3; ++i) lines += child.read_line();
  child.interrupt(SIGINT);
  Finished result = child.finish();
  result.out.insert(0, lines);
  const Run first = read_run(result);
  CHECK(first.status == 130);
  CHECK(first.whole.at("finish_reason") == "cancelled");
  const Run second = run_json(session + Words{"", "-n", "10"});
  CHECK(second.status == 0);
  const Run whole = run_json(begin + Words{"-n", std::to_string(first.ids.size() + second.ids.size())});
  CHECK(same_tokens(joined(first, second), whole.tokens));
}

TEST_CASE("session: is saved when the reader of the text goes away") {
  const TempDir folder;
  const Words begin{"-m", tiny_model(), "hello", "--temp", "0"};
  Child child(Words{"run", "--json", "--session", folder.path("s.kv")} + begin);
  child.shrink_output_pipe();
  CHECK(child.read_line().starts_with("{\"id\":"));
  child.close_output();
  const Finished result = child.finish();
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  const Ids saved = ids_of(folder.path("s.kv")), prompt = tokenized("hello");
  REQUIRE(saved.size() > prompt.size());
  const Run whole = run_json(begin + Words{"-n", std::to_string(saved.size() - prompt.size())});
  CHECK(saved == prompt + whole.ids);
}

TEST_CASE("session: is saved when the cache is full, and goes on with more of it") {
  const TempDir folder;
  const Words begin{"-m", tiny_model(), "hello", "--temp", "0"}, session{"--session", folder.path("s.kv")};
  const Finished full = run_decant(Words{"run", "--json", "--cache-bytes", "70K"} + begin + session);
  CHECK(full.status == 1);
  CHECK(is_one_line(full.err));
  CHECK(full.err.find("--cache-bytes") != std::string::npos);
  const Run first = read_run(full);
  REQUIRE(!first.ids.empty());
  CHECK(first.whole.at("finish_reason") == "error");
  const Run second = run_json(Words{"-m", tiny_model(), ""} + session + Words{"-n", "10"});
  const Run whole = run_json(begin + Words{"-n", std::to_string(first.ids.size() + 10)});
  CHECK(same_tokens(joined(first, second), whole.tokens));
}
