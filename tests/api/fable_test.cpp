// SPDX-License-Identifier: Apache-2.0
// The trained model: perplexity on held-out text and greedy continuations, for the bundled Q8_0 file and, where
// DECANT_FABLE_DIR names it, for the bfloat16 original that it was made from.
#include <cmath>
#include <cstdlib>

#include <doctest/doctest.h>

#include "tests/support/decode.h"
#include "tests/support/fixtures.h"

namespace decant::test {

namespace {

/// As the model card measures it: the text without specials, cut into pieces of 1023 tokens, each predicted after one
/// begin token.
double perplexity(const std::shared_ptr<const Model>& model) {
  const Tokenizer& tokenizer = *must(model->tokenizer());
  const std::vector<int32_t> ids =
      must(tokenizer.encode(read_file(fixture("fable/valid.txt")), {.add_special = false}));
  const size_t piece = static_cast<size_t>(model->info().n_ctx) - 1;
  double loss = 0.0;
  size_t n = 0;
  EngineOptions options = logits_options(512);
  options.n_threads = 0;
  for (size_t first = 0; first < ids.size(); first += piece) {
    const size_t last = std::min(first + piece, ids.size());
    std::vector<int32_t> prompt = {tokenizer.id_of("<|bos|>")};
    prompt.insert(prompt.end(), ids.begin() + static_cast<ptrdiff_t>(first),
                  ids.begin() + static_cast<ptrdiff_t>(last) - 1);
    const Logits logits = prompt_logits(model, prompt, options);
    for (size_t i = first; i < last; ++i, ++n) {
      const std::span<const float> row = logits.row(static_cast<int>(i - first));
      double sum = 0.0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit));
      loss += std::log(sum) - row[static_cast<size_t>(ids[i])];
    }
  }
  return std::exp(loss / static_cast<double>(n));
}

std::string bundled_path() { return DECANT_BUNDLED_MODEL; }

}  // namespace

TEST_CASE("fable: the bundled model's greedy stories begin as the original's") {
  const std::shared_ptr<const Model> model = open_model(bundled_path());
  const Tokenizer& tokenizer = *must(model->tokenizer());
  const nlohmann::json file = read_json(fixture("fable/reference.json"));
  REQUIRE(file["references"].size() == 3);
  for (const nlohmann::json& reference : file["references"]) {
    const std::vector<int32_t> prompt = reference["token_ids"];
    CHECK(must(tokenizer.encode(reference["prompt"].get<std::string>())) == prompt);
    const std::vector<int32_t> expected = reference["greedy_ids"],
                               ids = greedy_ids(model, prompt, 64, logits_options(64));
    CHECK(tokenizer.decode(expected) == reference["greedy_text"].get<std::string>());
    // Q8_0 moves logits by some 0.05: greedy ids must agree while the original's margin is well above that.
    for (size_t i = 0; i < ids.size() && reference["greedy_top2_margin"][i].get<double>() > 0.2; ++i)
      CHECK(ids[i] == expected[i]);
  }
}

TEST_CASE("fable: the original's logits and greedy ids are reproduced from its bfloat16 weights") {
  const char* const directory = std::getenv("DECANT_FABLE_DIR");
  if (directory == nullptr) {
    MESSAGE("DECANT_FABLE_DIR is not set: the bundled Q8_0 file stands in, in the other cases");
    return;
  }
  constexpr double kTolerance = 2e-3;
  const std::shared_ptr<const Model> model = open_model(directory);
  const nlohmann::json file = read_json(fixture("fable/reference.json"));
  REQUIRE(file["references"].size() == 3);
  for (const nlohmann::json& reference : file["references"]) {
    const std::vector<int32_t> prompt = reference["token_ids"], expected = reference["greedy_ids"];
    const Logits logits = prompt_logits(model, prompt, logits_options(64));
    const std::vector<float> last = reference["last_logits"];
    CHECK(max_difference(logits.row(logits.n_rows - 1), last) <= kTolerance);
    const std::vector<int32_t> ids = greedy_ids(model, prompt, 64, logits_options(64));
    for (size_t i = 0; i < ids.size() && reference["greedy_top2_margin"][i].get<double>() >= kTolerance; ++i)
      CHECK(ids[i] == expected[i]);
  }
}

TEST_CASE("fable: perplexity on held-out text is the model card's, within 0.1 % for bfloat16 and 0.5 % for Q8_0") {
  const double card = read_json(fixture("fable/reference.json"))["valid"]["perplexity"];
  CHECK(std::fabs(perplexity(open_model(bundled_path())) / card - 1.0) <= 0.005);
  if (const char* const directory = std::getenv("DECANT_FABLE_DIR"); directory != nullptr)
    CHECK(std::fabs(perplexity(open_model(directory)) / card - 1.0) <= 0.001);
}

}  // namespace decant::test
