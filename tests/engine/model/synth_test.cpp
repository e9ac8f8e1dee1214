// SPDX-License-Identifier: Apache-2.0
#include "engine/model/synth.h"

#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "engine/model/model_config.h"
#include "engine/model/synth_vocabulary.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::model {
namespace {

SynthShape shape_of(const std::string& name) {
  Result<SynthShape> shape = synth_shape(name);
  REQUIRE_MESSAGE(shape, (shape ? "" : shape.error().message));
  return *shape;
}

std::vector<SynthTensor> plan(const std::string& shape, const char* type) {
  const WeightMix* const mix = find_weight_mix(type);
  REQUIRE(mix != nullptr);
  Result<std::vector<SynthTensor>> tensors = plan_synth(shape_of(shape), *mix);
  REQUIRE(tensors);
  return *tensors;
}

uint64_t total_bytes(const std::string& shape, const char* type) {
  uint64_t total = 0;
  for (const SynthTensor& tensor : plan(shape, type)) total += tensor.size_bytes;
  return total;
}

DType type_of(const std::vector<SynthTensor>& tensors, const std::string& name) {
  for (const SynthTensor& tensor : tensors)
    if (tensor.name == name) return tensor.type;
  FAIL("no tensor " << name);
  return DType::f32;
}

/// A config.json with some fields replaced.
std::string config_with(const std::string& from, const std::string& to) {
  std::string text =
      R"({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
          "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300, "max_position_embeddings": 128,
          "rms_norm_eps": 1e-5, "tie_word_embeddings": true})";
  if (!from.empty()) text.replace(text.find(from), from.size(), to);
  return text;
}

TEST_CASE("synth: well-known shapes take the bytes of llama.cpp's files, type by type") {
  CHECK(total_bytes("llama-1b", "q4_0") == 763097088);
  CHECK(total_bytes("llama-1b", "q8_0") == 1313251328);
  CHECK(total_bytes("llama-1b", "bf16") == 2471763968);
  CHECK(total_bytes("llama-1b", "q4_k_m") == 799862784);
  CHECK(total_bytes("llama-1b", "q3_k_m") == 683012096);
  CHECK(total_bytes("llama-1b", "q2_k") == 573042688);
  CHECK(total_bytes("llama-1b", "iq4_xs") == 740552704);
  CHECK(total_bytes("smollm2-135m", "q4_0") == 89941248);
  CHECK(total_bytes("smollm2-135m", "q8_0") == 143025408);
  CHECK(total_bytes("smollm2-135m", "f16") == 269100288);
  CHECK(total_bytes("smollm2-135m", "q4_k_m") == 103668480);
  CHECK(total_bytes("smollm2-135m", "iq4_xs") == 89526528);
}

TEST_CASE("synth: mixes give more bits to the head and to some layers' v and down") {
  const std::vector<SynthTensor> one_b = plan("llama-1b", "q4_k_m");
  CHECK(type_of(one_b, "token_embd.weight") == DType::q6_k);
  CHECK(type_of(one_b, "blk.0.attn_q.weight") == DType::q4_k);
  CHECK(type_of(one_b, "blk.0.attn_v.weight") == DType::q6_k);
  CHECK(type_of(one_b, "blk.2.ffn_down.weight") == DType::q4_k);
  CHECK(type_of(one_b, "blk.4.ffn_down.weight") == DType::q6_k);
  CHECK(type_of(one_b, "blk.15.ffn_down.weight") == DType::q6_k);
  CHECK(type_of(one_b, "blk.0.attn_norm.weight") == DType::f32);
  const std::vector<SynthTensor> eight_b = plan("llama-8b", "q4_0");
  CHECK(type_of(eight_b, "token_embd.weight") == DType::q4_0);
  CHECK(type_of(eight_b, "output.weight") == DType::q6_k);
}

TEST_CASE("synth: rows that a block doesn't divide get a type with smaller blocks, F16 in the end") {
  const std::vector<SynthTensor> small = plan("smollm2-135m", "q4_k_m");  // rows of 576
  CHECK(type_of(small, "token_embd.weight") == DType::q8_0);
  CHECK(type_of(small, "blk.0.attn_q.weight") == DType::q5_0);
  CHECK(type_of(small, "blk.0.attn_v.weight") == DType::q8_0);
  CHECK(type_of(small, "blk.0.ffn_down.weight") == DType::q6_k);  // rows of 1536
  CHECK(type_of(plan("smollm2-135m", "q2_k"), "blk.0.attn_q.weight") == DType::q4_0);
  CHECK(type_of(plan("smollm2-135m", "q5_k_s"), "blk.0.attn_q.weight") == DType::q5_1);
  CHECK(type_of(plan("smollm2-135m", "iq4_xs"), "blk.0.attn_q.weight") == DType::iq4_nl);
  const test::TempDir folder;
  folder.write("config.json", config_with("\"intermediate_size\": 128", "\"intermediate_size\": 100"));
  CHECK(type_of(plan(folder.path("config.json"), "q4_0"), "blk.0.ffn_down.weight") == DType::f16);
}

TEST_CASE("synth: a file is what was planned, of every type, and decant reads it with its tokenizer") {
  const test::TempDir folder;
  for (const char* const type : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k_m",
                                 "q4_k_m", "q4_k_s", "q5_k_m", "q5_k_s", "q6_k", "iq4_nl", "iq4_xs"}) {
    CAPTURE(type);
    const SynthShape shape = shape_of("tiny");
    const std::string path = folder.path("tiny.gguf");
    REQUIRE(synthesize(shape, *find_weight_mix(type), path));
    const Result<ModelDescription> model = describe(path);
    REQUIRE_MESSAGE(model, (model ? "" : model.error().message));
    CHECK(model->info.file_bytes == total_bytes("tiny", type));
    CHECK(model->info.tied_head);
    CHECK(model->config.n_ctx == 4096);
    const std::vector<SynthTensor> planned = plan("tiny", type);
    const auto& tensors = model->files->tensors();
    REQUIRE(tensors.size() == planned.size());
    for (const SynthTensor& tensor : planned)
      CHECK(std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& info) {
        return info.name == tensor.name && info.type == tensor.type && info.shape == tensor.shape;
      }));
    const auto tokenizer = tokenizer::make_tokenizer(model->tokenizer);
    REQUIRE(tokenizer);
    const auto ids = (*tokenizer)->encode("babo Lima", {});
    REQUIRE(ids);
    CHECK(ids->front() == 1);
    CHECK((*tokenizer)->decode(*ids) == "babo Lima");
  }
}

TEST_CASE("synth: families with biases, head norms and scaled rotation have their tensors") {
  const test::TempDir folder;
  const auto names = [&](const std::string& config) {
    folder.write("config.json", config);
    const std::string path = folder.path("model.gguf");
    REQUIRE(synthesize(shape_of(folder.path("config.json")), *find_weight_mix("q8_0"), path));
    const Result<ModelDescription> model = describe(path);
    REQUIRE_MESSAGE(model, (model ? "" : model.error().message));
    std::string all;
    for (const TensorInfo& tensor : model->files->tensors()) all += tensor.name + " ";
    return all;
  };
  CHECK(names(config_with("\"llama\"", "\"qwen2\"")).find("blk.1.attn_k.bias") != std::string::npos);
  CHECK(names(config_with("\"llama\"", "\"qwen3\"")).find("blk.1.attn_k_norm.weight") != std::string::npos);
  CHECK(names(config_with("true}", "false}")).find("output.weight") != std::string::npos);
  const std::string scaled = names(
      config_with("\"rms_norm_eps\"", R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
          "high_freq_factor": 4, "original_max_position_embeddings": 64}, "rms_norm_eps")"));
  CHECK(scaled.find("rope_freqs.weight") != std::string::npos);
}

TEST_CASE("synth: the seed decides every byte") {
  const test::TempDir folder;
  const SynthShape shape = shape_of("tiny");
  const auto bytes = [&](uint64_t seed) {
    SynthOptions options;
    options.seed = seed;
    REQUIRE(synthesize(shape, *find_weight_mix("q4_k_m"), folder.path("tiny.gguf"), options));
    return test::read_file(folder.path("tiny.gguf"));
  };
  const std::string first = bytes(1);
  CHECK(bytes(1) == first);
  CHECK(bytes(2) != first);
}

TEST_CASE("synth: shapes that can't be made are refused, by name and with the reason") {
  CHECK(synth_shape("llama-9b").error().message.find("llama-1b") != std::string::npos);
  CHECK(synth_shape("llama-9b").error().code == ErrorCode::invalid_argument);
  CHECK(synth_shape("/nonesuch/config.json").error().code == ErrorCode::io);
  CHECK(find_weight_mix("q4_k_l") == nullptr);
  CHECK(find_weight_mix("") == nullptr);
  CHECK(find_weight_mix("Q4_K_M") == find_weight_mix("q4_k_m"));

  const test::TempDir folder;
  const auto made = [&](const std::string& config) -> Status {
    folder.write("config.json", config);
    const Result<SynthShape> shape = synth_shape(folder.path("config.json"));
    if (!shape) return shape.error();
    const Result<std::vector<SynthTensor>> tensors = plan_synth(*shape, *find_weight_mix("q4_0"));
    return tensors ? Status() : Status(tensors.error());
  };
  CHECK(made(config_with("", "")));
  struct Wrong {
    const char *from, *to;
  };
  constexpr Wrong kWrong[] = {
      {"\"hidden_size\": 64", "\"hidden_size\": 0"},
      {"\"hidden_size\": 64", "\"hidden_size\": 99999999999999999999"},
      {"\"hidden_size\": 64", "\"hidden_size\": \"wide\""},
      {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": -1"},
      {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000"},
      {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3"},
      {"\"vocab_size\": 300", "\"vocab_size\": 258"},
      {"\"llama\"", "\"gpt2\""},
      {"\"llama\"", "\"frob\""},
      {"{", "["},
  };
  for (const Wrong& wrong : kWrong) {
    CAPTURE(wrong.to);
    const Status status = made(config_with(wrong.from, wrong.to));
    REQUIRE(!status);
    CHECK(status.error().message.find("config.json") != std::string::npos);
  }
  const Status huge = made(R"({"model_type": "llama", "num_hidden_layers": 4096, "hidden_size": 16777216,
      "intermediate_size": 16777216, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 16777216,
      "max_position_embeddings": 128, "tie_word_embeddings": false})");
  REQUIRE(!huge);
  CHECK(huge.error().message.find("TiB") != std::string::npos);
}

TEST_CASE("synth: nothing is left of a file that was cancelled or found no room") {
  const test::TempDir folder;
  std::stop_source stop;
  SynthOptions options;
  options.stop = stop.get_token();
  options.progress = [&](size_t, size_t) { stop.request_stop(); };
  const Status cancelled = synthesize(shape_of("tiny"), *find_weight_mix("q8_0"), folder.path("tiny.gguf"), options);
  REQUIRE(!cancelled);
  CHECK(cancelled.error().code == ErrorCode::cancelled);
  CHECK(synthesize(shape_of("tiny"), *find_weight_mix("q8_0"), folder.path("no/tiny.gguf")).error().code ==
        ErrorCode::io);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("synth: a vocabulary has every entry once, whatever its size") {
  for (const int size : {kMinSynthVocabulary, 300, 1000, 151936}) {
    const tokenizer::GgufVocabulary vocabulary = synth_vocabulary(size);
    CHECK(vocabulary.tokens.size() == static_cast<size_t>(size));
    CHECK(vocabulary.scores.size() == static_cast<size_t>(size));
    CHECK(vocabulary.token_type.size() == static_cast<size_t>(size));
    std::vector<std::string> sorted = vocabulary.tokens;
    std::sort(sorted.begin(), sorted.end());
    CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
  }
}

}  // namespace
}  // namespace decant::model
