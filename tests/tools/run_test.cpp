// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/run_json.h"

using namespace decant::test;
TEST_CASE("run: greedy ids are those of the reference, for every model") {
  for (const char* name : {"llama-gqa", "llama-mha", "mistral", "qwen2", "qwen3", "gpt2"}) {
    CAPTURE(name);
    const Json prompt = read_json(tiny_model(name) + "/reference.json").at("prompts").at(0);
    const Run run = run_json(
        {"-m", tiny_model(name), "--ids", join(prompt.at("input_ids")), "--temp", "0", "-n", "32", "--kv-type", "f32"});
    REQUIRE(run.status == 0);
    std::vector<int> expected = prompt.at("greedy_ids");
    REQUIRE(run.ids.size() <= expected.size());  // decant ends at an end id, the reference goes on
    CHECK((run.ids.size() == expected.size() || run.whole.at("finish_reason") == "stop"));
    expected.resize(run.ids.size());
    CHECK(run.ids == expected);
  }
}

TEST_CASE("run: JSON Lines bear the contract's names and types") {
  const Run run = run_json({"-m", tiny_model(), "hello", "--seed", "7", "--temp", "1", "-n", "20"});
  REQUIRE(run.status == 0);
  CHECK(run.err.empty());
  REQUIRE(run.tokens.size() == 20);
  double before = 0.0;
  for (const Json& token : run.tokens) {
    CHECK(token.size() == 4);
    CHECK(token.at("id").is_number_integer());
    CHECK(token.at("text").is_string());
    CHECK(token.at("logprob").get<double>() <= 0.0);
    CHECK(token.at("t_ms").get<double>() >= before);
    before = token.at("t_ms");
  }
  CHECK(run.whole.size() == 6);
  CHECK(run.whole.at("finish_reason") == "length");
  CHECK(run.whole.at("n_prompt").get<int>() > 1);
  CHECK(run.whole.at("n_generated") == 20);
  CHECK(run.whole.at("ttft_ms") == run.tokens.front().at("t_ms"));
  const Json& gaps = run.whole.at("itl_ms");
  CHECK(gaps.size() == 4);
  CHECK(gaps.at("p50").get<double>() <= gaps.at("p90").get<double>());
  CHECK(gaps.at("p90").get<double>() <= gaps.at("p99").get<double>());
  CHECK(gaps.at("p99").get<double>() <= gaps.at("max").get<double>());
  CHECK(run.whole.at("tokens_per_s").get<double>() > 0.0);
}

TEST_CASE("run: what was not measured is null") {
  const Run none = run_json({"-m", tiny_model(), "hello", "-n", "0"});
  CHECK(none.status == 0);
  CHECK(none.tokens.empty());
  CHECK(none.whole.at("finish_reason") == "length");
  CHECK(none.whole.at("ttft_ms").is_null());
  CHECK(none.whole.at("itl_ms").at("p50").is_null());
  const Run one = run_json({"-m", tiny_model(), "hello", "-n", "1"});
  CHECK(one.whole.at("ttft_ms").is_number());
  CHECK(one.whole.at("tokens_per_s").is_null());
}

TEST_CASE("run: the joined text of JSON Lines is the plain output, cut characters and stop strings included") {
  for (const char* name : {"llama-gqa", "llama-mha", "gpt2"})
    for (const char* seed : {"1", "2", "3", "4", "5", "6"})
      for (const Words& stop : {Words{}, {"--stop", "e", "--stop", "[a,b]"}, {"--stop", " t"}}) {
        CAPTURE(name);
        CAPTURE(seed);
        const Words words = Words{"-m", tiny_model(name), "hello", "--seed", seed, "--temp", "1.2", "-n", "25"} + stop;
        const Run run = run_json(words);
        const Finished plain = run_decant(Words{"run"} + words);
        REQUIRE(run.status == 0);
        CHECK(plain.status == 0);
        CHECK(run.text == plain.out);
        CHECK(is_one_line(plain.err));
      }
}

TEST_CASE("run: the text ends before a stop string, with finish reason stop") {
  const Words words{"-m", tiny_model("gpt2"), "hello", "--temp", "0", "-n", "60"};
  const Run whole = run_json(words);
  REQUIRE(whole.text.size() > 8);
  size_t at = whole.text.size() / 2;
  while (at > 0 && static_cast<unsigned char>(whole.text[at]) >= 0x80) --at;
  const std::string stop = whole.text.substr(at, 1);
  const Run stopped = run_json(words + Words{"--stop", stop});
  CHECK(stopped.whole.at("finish_reason") == "stop");
  CHECK(stopped.text == whole.text.substr(0, whole.text.find(stop)));
}

TEST_CASE("run: generation ends at an end id, which is reported and is no text") {
  const Run run = run_json({"-m", tiny_model("mistral"), "hello", "--temp", "0"});
  REQUIRE(run.status == 0);
  CHECK(run.whole.at("finish_reason") == "stop");
  CHECK(run.ids.back() == 2);
  CHECK(run.tokens.back().at("text").get<std::string>().find("</s>") == std::string::npos);
}

TEST_CASE("run: generation ends with length where the context is full") {
  const Run run = run_json({"-m", tiny_model(), "--ids", "232,28,487,396", "--temp", "0", "--ctx", "20"});
  CHECK(run.status == 0);
  CHECK(run.whole.at("finish_reason") == "length");
  const Run more = run_json({"-m", tiny_model(), "--ids", "232,28,487,396", "--temp", "0", "--ctx", "40"});
  REQUIRE(more.ids.size() > run.ids.size());
  CHECK(std::equal(run.ids.begin(), run.ids.end(), more.ids.begin()));
}

TEST_CASE("run: the prompt may come from standard input, less its last newline") {
  const Words options{"-m", tiny_model(), "--temp", "0", "-n", "10"};
  const Run argument = run_json(Words{"hello there"} + options);
  CHECK(run_json(options, {.input = "hello there\n"}).ids == argument.ids);
  CHECK(run_json(options, {.input = "hello there"}).ids == argument.ids);
  CHECK(run_json(Words{"-"} + options, {.input = "hello there\n"}).ids == argument.ids);
  CHECK(run_json(options, {.input = "hello there\n\n"}).whole.at("n_prompt") != argument.whole.at("n_prompt"));
}

TEST_CASE("run: a prompt in brackets or after -- is text like any other") {
  for (const char* prompt : {"[a,b]", "-5 degrees", "--temp", "%s{}"}) {
    CAPTURE(prompt);
    const Run argument = run_json({"-m", tiny_model(), "--temp", "0", "-n", "4", "--", prompt}, {});
    CHECK(argument.status == 2);  // --json comes after --: too many words
    const Finished plain = run_decant({"run", "-m", tiny_model(), "--temp", "0", "-n", "4", "--", prompt});
    const Finished input = run_decant({"run", "-m", tiny_model(), "--temp", "0", "-n", "4"}, {.input = prompt});
    CHECK(plain.status == 0);
    CHECK(plain.out == input.out);
  }
}

TEST_CASE("run: an empty prompt is the begin token, where the model has one") {
  const Run begin = run_json({"-m", tiny_model(), "", "-n", "2"});
  CHECK(begin.status == 0);
  CHECK(begin.whole.at("n_prompt") == 1);
  const Finished none = run_decant({"run", "-m", tiny_model("gpt2"), "", "-n", "2"});
  CHECK(none.status == 2);
  CHECK(is_one_line(none.err));
}

TEST_CASE("run: the same seed gives the same text, whatever threads, chunk and kernels") {
  const Words words{"-m", tiny_model(), "Far away, in the middle", "--seed", "11", "--temp", "0.9", "-n", "30"};
  const Run expected = run_json(words);
  REQUIRE(expected.ids.size() > 1);
  for (const Words& more :
       {Words{}, {"--threads", "1"}, {"--threads", "3"}, {"--chunk", "1"}, {"--chunk", "3"}, {"--isa", "reference"}}) {
    const Run run = run_json(words + more);
    CHECK(run.ids == expected.ids);
    for (size_t i = 0; i < run.tokens.size(); ++i)
      CHECK(run.tokens[i].at("logprob") == expected.tokens[i].at("logprob"));
  }
}

TEST_CASE("run: the seed on the closing line repeats a text that was drawn without one") {
  const Words words{"run", "-m", tiny_model(), "hello", "--temp", "1", "-n", "12"};
  const Finished first = run_decant(words);
  const size_t at = first.err.find("seed ");
  REQUIRE(at != std::string::npos);
  std::string seed = first.err.substr(at + 5);
  seed.pop_back();
  CHECK(run_decant(words + Words{"--seed", seed}).out == first.out);
}

TEST_CASE("run: options that are not given come from the model's generation defaults") {
  const TempDir model;
  model.link_all(tiny_model());
  const Words words{"-m", model.path(), "hello", "-n", "12"};
  const Run greedy = run_json(words + Words{"--temp", "0"});
  model.write("generation_config.json", R"({"do_sample": false, "temperature": 0.9})");
  CHECK(run_json(words).ids == greedy.ids);
  model.replace("generation_config.json", R"({"do_sample": true, "temperature": 0.9, "top_k": 1})");
  CHECK(run_json(words).ids == greedy.ids);
  model.replace("generation_config.json", R"({"do_sample": true, "temperature": 5.0})");
  CHECK(run_json(words + Words{"--seed", "1"}).ids != greedy.ids);
  CHECK(run_json(words + Words{"--temp", "0"}).ids == greedy.ids);
}

TEST_CASE("run: a model with a chat template is said once to run without it") {
  const TempDir model;
  model.link_all(tiny_model());
  model.replace("tokenizer_config.json", R"({"chat_template": "{{ messages }}"})");
  const Finished result = run_decant({"run", "-m", model.path(), "hello", "-n", "2", "--json", "--seed", "1"});
  CHECK(result.status == 0);
  CHECK(is_one_line(result.err));
  CHECK(result.err.find("template") != std::string::npos);
}

TEST_CASE("run: a model without a tokenizer runs on ids and shows ids") {
  const TempDir model;
  model.link_all(tiny_model());
  std::filesystem::remove(model.path("tokenizer.json"));
  const Words words{"run", "-m", model.path(), "--temp", "0", "-n", "3"};
  const Finished ids = run_decant(words + Words{"--ids", "232,28,487,396,245,488,396"});
  CHECK(ids.status == 0);
  CHECK(ids.out == "290\n180\n235\n");
  const Finished text = run_decant(words + Words{"hello"});
  CHECK(text.status == 1);
  CHECK(is_one_line(text.err));
  CHECK(text.err.find("--ids") != std::string::npos);
}

TEST_CASE("run: the closing line names what was counted and measured") {
  const Finished result = run_decant({"run", "-m", tiny_model(), "--ids", "1,2,3", "--temp", "0", "-n", "5"});
  CHECK(result.status == 0);
  for (const char* part : {"3 prompt tokens", "5 generated", "first token", "p50", "p99", "tokens/s", "length"}) {
    CAPTURE(part);
    CHECK(result.err.find(part) != std::string::npos);
  }
}
