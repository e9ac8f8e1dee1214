// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include "tests/tools/child.h"

using namespace decant::test;

TEST_CASE("decant: help and version go to standard output and succeed") {
  for (const Words& words : {Words{"help"},
                             {"--help"},
                             {"help", "run"},
                             {"run", "--help"},
                             {"help", "logits"},
                             {"help", "tokenize"},
                             {"help", "detokenize"},
                             {"help", "inspect"},
                             {"help", "eval"},
                             {"help", "cache"},
                             {"help", "convert"},
                             {"help", "synth"},
                             {"help", "machine"},
                             {"help", "profile"},
                             {"help", "quantize"},
                             {"version"},
                             {"--version"}}) {
    CAPTURE(words.back());
    const Finished result = run_decant(words);
    CHECK(result.status == 0);
    CHECK(!result.out.empty());
    CHECK(result.err.empty());
  }
  CHECK(run_decant({"help", "run"}).out.find("--no-repeat-ngram") != std::string::npos);
  CHECK(run_decant({"version"}).out.starts_with("decant "));
}

TEST_CASE("decant: a wrong command line exits 2 with one line that names the word and where help is") {
  struct Case {
    Words words;
    const char* named;
  };
  const Case cases[] = {
      {{}, "decant help"},
      {{"frob"}, "frob"},
      {{"help", "frob"}, "frob"},
      {{"run", "--frob", "x"}, "--frob"},
      {{"run", "two", "prompts"}, "prompts"},
      {{"run", "--temp"}, "--temp"},
      {{"run", "--temp", "warm"}, "--temp"},
      {{"run", "--temp", "-1"}, "--temp"},
      {{"run", "--temp", "nan"}, "--temp"},
      {{"run", "--temp", "inf"}, "--temp"},
      {{"run", "--temp", "1e999"}, "--temp"},
      {{"run", "--temp", "0.5x"}, "--temp"},
      {{"run", "--top-p", "0"}, "--top-p"},
      {{"run", "--top-p", "1.5"}, "--top-p"},
      {{"run", "--min-p", "-0.1"}, "--min-p"},
      {{"run", "--typical-p", "2"}, "--typical-p"},
      {{"run", "--top-k", "-1"}, "--top-k"},
      {{"run", "--top-k", "1.5"}, "--top-k"},
      {{"run", "--repeat-penalty", "0"}, "--repeat-penalty"},
      {{"run", "--no-repeat-ngram", "-2"}, "--no-repeat-ngram"},
      {{"run", "--seed", "-1"}, "--seed"},
      {{"run", "--seed", "18446744073709551616"}, "--seed"},
      {{"run", "-n", "-1"}, "-n"},
      {{"run", "-n", "99999999999"}, "-n"},
      {{"run", "--stop", ""}, "--stop"},
      {{"run", "--ids", ""}, "--ids"},
      {{"run", "--ids", "1,,2"}, "--ids"},
      {{"run", "--ids", "1,-2"}, "--ids"},
      {{"run", "--ids", "1,2,"}, "--ids"},
      {{"run", "--ids", "99999999999"}, "--ids"},
      {{"run", "--ids", "1,2", "prompt"}, "--ids"},
      {{"run", "--ctx", "0"}, "--ctx"},
      {{"run", "--threads", "0"}, "--threads"},
      {{"run", "--threads", "1000000"}, "--threads"},
      {{"run", "--chunk", "0"}, "--chunk"},
      {{"run", "--chunk", "65537"}, "--chunk"},
      {{"run", "--numerics", "sloppy"}, "--numerics"},
      {{"run", "--kv-type", "f8"}, "--kv-type"},
      {{"run", "--kv-type", "f16,f8"}, "--kv-type"},
      {{"run", "--log-level", "loud"}, "--log-level"},
      {{"run", "--session", ""}, "--session"},
      {{"run", "--window", "0"}, "--window"},
      {{"run", "--cache-bytes", "0"}, "--cache-bytes"},
      {{"run", "--cache-bytes", "12X"}, "--cache-bytes"},
      {{"run", "--cache-bytes", "M"}, "--cache-bytes"},
      {{"run", "--cache-bytes", "99999999999T"}, "--cache-bytes"},
      {{"run", "--kv-type", "q8,"}, "--kv-type"},
      {{"run", "--kv-type", "q8,q4,q4"}, "--kv-type"},
      {{"cache"}, "WHAT"},
      {{"cache", "frob"}, "frob"},
      {{"cache", "frob", "x.kv"}, "frob"},
      {{"cache", "inspect"}, "FILE"},
      {{"cache", "stats", ""}, "FILE"},
      {{"cache", "stats", "x.kv", "--json"}, "--json"},
      {{"cache", "inspect", "x.kv", "y.kv"}, "y.kv"},
      {{"logits", "--ids", "1"}, "-o"},
      {{"logits", "-o", "x.npy"}, "--ids"},
      {{"logits", "-o", "x.npy", "--ids", "1", "--text", "x"}, "--ids"},
      {{"logits", "-o", "x.npy", "--ids", "1", "--decode", "--chunk", "2"}, "--chunk"},
      {{"detokenize"}, "ids"},
      {{"detokenize", "one"}, "IDS"},
      {{"eval"}, "-f"},
      {{"eval", "-f", "x", "--window", "1"}, "--window"},
      {{"convert", "only-one"}, "OUT.gguf"},
      {{"convert", "a", "b", "--type", "q4_k"}, "--type"},
      {{"synth", "--type", "q4_0", "-o", "x"}, "SHAPE"},
      {{"synth", "tiny", "-o", "x"}, "--type"},
      {{"synth", "tiny", "--type", "q4_0"}, "-o"},
      {{"synth", "tiny", "--type", "q9", "-o", "x"}, "q9"},
      {{"synth", "teeny", "--type", "q4_0", "-o", "x"}, "teeny"},
      {{"synth", "tiny", "--type", "q4_0", "-o", "x", "--seed", "-1"}, "--seed"},
      {{"machine", "frob"}, "frob"},
      {{"profile", "--threads", "0"}, "--threads"},
      {{"profile", "--threads", "1,,2"}, "--threads"},
      {{"profile", "--depths", "-1"}, "--depths"},
      {{"profile", "-n", "0"}, "-n"},
      {{"profile", "--json"}, "--json"},
      {{"profile", "--json", "-", "--csv"}, "standard output"},
      {{"profile", "--prompt", "x", "--prompt-tokens", "8"}, "--prompt-tokens"},
      {{"profile", "--compare", "a.json"}, "--compare"},
      {{"profile", "--compare", "a.json", "b.json", "--csv"}, "--compare"},
      {{"profile", "-m", "x", "--synthetic", "tiny:q4_0"}, "--synthetic"},
      {{"profile", "--synthetic", "tiny"}, "tiny"},
      {{"profile", "--synthetic", "teeny:q4_0"}, "teeny"},
      {{"quantize", "--packed", "a"}, "OUT.dpk"},
      {{"quantize", "a", "-o", "b"}, "--packed"},
  };
  for (const Case& wrong : cases) {
    std::string line;
    for (const std::string& word : wrong.words) line += word + " ";
    CAPTURE(line);
    const Finished result = run_decant(wrong.words);
    CHECK(result.status == 2);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(result.err.find(wrong.named) != std::string::npos);
    CHECK(result.err.find("decant help") != std::string::npos);
  }
}

TEST_CASE("decant: an option that is given twice takes the later value") {
  const Finished result =
      run_decant({"run", "-m", tiny_model(), "--ids", "1,2", "--temp", "0", "-n", "1", "-n", "3", "--json"});
  CHECK(result.status == 0);
  CHECK(result.out.find("\"n_generated\":3") != std::string::npos);
}
