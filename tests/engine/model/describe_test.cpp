// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numbers>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "engine/model/model_config.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

using decant::ErrorCode;
using decant::Result;
using decant::model::describe;
using decant::model::FfnKind;
using decant::model::LayerSources;
using decant::model::MatrixSource;
using decant::model::ModelConfig;
using decant::model::ModelDescription;
using decant::model::NormKind;
using decant::test::fixture;
using decant::test::TempDir;

namespace {

ModelDescription must_describe(const std::string& path) {
  Result<ModelDescription> described = describe(path);
  CAPTURE(path);
  if (!described) FAIL(described.error().message);
  return std::move(*described);
}

/// describe() of a fixture model whose config.json is another.
Result<ModelDescription> describe_with(const std::string& model, const nlohmann::json& config) {
  TempDir dir;
  dir.link_all(fixture("models/" + model));
  dir.replace("config.json", config.dump());
  return describe(dir.path());
}

nlohmann::json config_of(const std::string& model) {
  return decant::test::read_json(fixture("models/" + model + "/config.json"));
}

void check_same(const ModelConfig& a, const ModelConfig& b) {
  CHECK(a.d_model == b.d_model);
  CHECK(a.d_ff == b.d_ff);
  CHECK(a.n_heads == b.n_heads);
  CHECK(a.head_dim == b.head_dim);
  CHECK(a.vocab_size == b.vocab_size);
  CHECK(a.n_ctx == b.n_ctx);
  REQUIRE(a.layers.size() == b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    CHECK(a.layers[i].n_kv_heads == b.layers[i].n_kv_heads);
    CHECK(a.layers[i].window == b.layers[i].window);
  }
  CHECK(a.norm == b.norm);
  CHECK(a.norm_eps == b.norm_eps);
  CHECK(a.ffn == b.ffn);
  CHECK(a.attention_scale == b.attention_scale);
  REQUIRE(a.rope_inv_freq.size() == b.rope_inv_freq.size());
  for (size_t i = 0; i < a.rope_inv_freq.size(); ++i)  // a GGUF's divisors are float32
    CHECK(a.rope_inv_freq[i] == doctest::Approx(b.rope_inv_freq[i]).epsilon(1e-6));
}

struct Wanted {
  const char* name;
  int d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff, vocab_size, n_ctx, window;
  bool tied;
};

constexpr Wanted kModels[] = {
    {"llama-mha", 64, 3, 4, 4, 16, 160, 640, 256, 0, false}, {"llama-gqa", 128, 2, 8, 2, 16, 160, 512, 512, 0, true},
    {"mistral", 64, 3, 4, 2, 32, 128, 640, 256, 16, false},  {"qwen2", 64, 3, 4, 2, 16, 160, 512, 256, 0, false},
    {"qwen3", 64, 3, 2, 1, 128, 128, 512, 256, 0, true},     {"gpt2", 64, 3, 4, 4, 16, 256, 512, 256, 0, true},
};

}  // namespace

TEST_CASE("describe: every fixture directory is read as its config.json says, in both spellings") {
  for (const Wanted& wanted : kModels) {
    CAPTURE(wanted.name);
    const ModelDescription model = must_describe(fixture(std::string("models/") + wanted.name));
    const ModelConfig& config = model.config;
    CHECK(config.d_model == wanted.d_model);
    CHECK(config.layers.size() == static_cast<size_t>(wanted.n_layers));
    CHECK(config.n_heads == wanted.n_heads);
    CHECK(config.head_dim == wanted.head_dim);
    CHECK(config.d_ff == wanted.d_ff);
    CHECK(config.vocab_size == wanted.vocab_size);
    CHECK(config.n_ctx == wanted.n_ctx);
    CHECK(config.tied_head == wanted.tied);
    for (const auto& layer : config.layers) {
      CHECK(layer.n_kv_heads == wanted.n_kv_heads);
      CHECK(layer.window == wanted.window);
    }
    CHECK(config.attention_scale == doctest::Approx(1.0 / std::sqrt(wanted.head_dim)));
    const bool gpt2 = std::string(wanted.name) == "gpt2";
    CHECK(config.norm == (gpt2 ? NormKind::layer : NormKind::rms));
    CHECK(config.ffn == (gpt2 ? FfnKind::gelu_tanh : FfnKind::silu_gated));
    CHECK(config.rope_inv_freq.size() == (gpt2 ? 0U : static_cast<size_t>(wanted.head_dim / 2)));
    CHECK(static_cast<bool>(model.weights.position_embedding) == gpt2);
    CHECK(static_cast<bool>(model.weights.head) == !wanted.tied);
    CHECK(model.info.format == "safetensors");
    CHECK(model.info.name == wanted.name);
    CHECK(model.info.window == wanted.window);
    CHECK_FALSE(model.info.has_chat_template);
    CHECK(model.tokenizer.tokenizer_json.has_value());
    CHECK(model.tokenizer.tokenizer_config_json.has_value());
    CHECK(model.end_ids.size() == 1);

    int64_t n_params = 0;
    size_t file_bytes = 0;
    for (const auto& tensor : model.files->tensors()) n_params += tensor.n_elements(), file_bytes += tensor.size_bytes;
    CHECK(model.info.n_params == n_params);
    CHECK(model.info.file_bytes == file_bytes);

    const auto v4 = decant::test::read_json(fixture(std::string("models/") + wanted.name + "/config.v4.json"));
    const Result<ModelDescription> other = describe_with(wanted.name, v4);
    REQUIRE(other.ok());
    check_same(config, other->config);
    CHECK(config.rope_inv_freq == other->config.rope_inv_freq);
  }
}

TEST_CASE("describe: every fixture GGUF of the families decant has is read like the model it was made from") {
  for (const char* const name : {"gpt2-f16", "llama-gqa-f16", "llama-gqa-f32", "llama-gqa-q4_0", "llama-gqa-q8_0",
                                 "llama-mha-f16", "qwen2-f16", "qwen2-q8_0", "qwen3-f16"}) {
    const std::string path = fixture(std::string("gguf/") + name + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    CAPTURE(name);
    const std::string source = std::string(name).substr(0, std::string(name).rfind('-'));
    const ModelDescription gguf = must_describe(path);
    const ModelDescription original = must_describe(fixture("models/" + source));
    check_same(gguf.config, original.config);
    CHECK(gguf.info.format == "gguf");
    CHECK(gguf.end_ids == original.end_ids);
    REQUIRE(gguf.tokenizer.gguf.has_value());
    CHECK(gguf.tokenizer.gguf->tokens.size() == static_cast<size_t>(gguf.config.vocab_size));
    CHECK(gguf.tokenizer.gguf->token_type.size() == gguf.tokenizer.gguf->tokens.size());
    CHECK(gguf.tokenizer.gguf->eos == gguf.end_ids[0]);
    const bool llama = source.starts_with("llama");
    CHECK(gguf.weights.layers[0].q.interleaved == (llama ? gguf.config.head_dim : 0));
    CHECK(gguf.weights.layers[0].v.interleaved == 0);
  }
}

TEST_CASE("describe: GGUFs of mixed types keep each tensor's own type") {
  const ModelDescription kmix = must_describe(fixture("gguf/llama-kmix.gguf"));
  CHECK(kmix.weights.token_embedding.tensor->type == decant::DType::q6_k);
  CHECK(kmix.weights.layers[0].gate.tensor->type == decant::DType::iq4_xs);
  CHECK(kmix.info.name == "tiny-llama-kmix");
  CHECK_FALSE(kmix.config.tied_head);
  const ModelDescription legacy = must_describe(fixture("gguf/llama-legacymix.gguf"));
  CHECK(legacy.weights.layers[0].up.tensor->type == decant::DType::bf16);
  CHECK(legacy.weights.layers[0].k.tensor->type == decant::DType::q4_1);
}

TEST_CASE("describe: GPT-2's fused projection is split into rows of one transposed tensor") {
  const ModelDescription hf = must_describe(fixture("models/gpt2"));
  const LayerSources& layer = hf.weights.layers[1];
  CHECK(layer.q.tensor == layer.v.tensor);
  CHECK(layer.q.transposed);
  CHECK(layer.k.row_begin == 64);
  CHECK(layer.v.row_begin == 128);
  CHECK(layer.v.rows == 64);
  CHECK(layer.v_bias.begin == 128);
  CHECK(layer.down.cols == 256);
  CHECK_FALSE(static_cast<bool>(layer.gate));
  const ModelDescription gguf = must_describe(fixture("gguf/gpt2-f16.gguf"));
  CHECK_FALSE(gguf.weights.layers[1].k.transposed);
  CHECK(gguf.weights.layers[1].k.row_begin == 64);
}

TEST_CASE("describe: a Mistral checkpoint without prefix in its tensor names, and GPT-2's masks, are read") {
  const auto strip = [](const std::string& model, const std::string& prefix, const std::string& extra) {
    const std::string file = decant::test::read_file(fixture("models/" + model + "/model.safetensors"));
    uint64_t n = 0;
    std::memcpy(&n, file.data(), 8);
    auto header = nlohmann::json::parse(file.substr(8, n));
    auto renamed = nlohmann::json::object();
    for (const auto& [name, entry] : header.items())
      renamed[name.starts_with(prefix) ? name.substr(prefix.size()) : name] = entry;
    std::string data = file.substr(8 + n);
    if (!extra.empty()) {
      renamed[extra] = {{"dtype", "BOOL"}, {"shape", {2, 2}}, {"data_offsets", {data.size(), data.size() + 4}}};
      data += std::string(4, '\1');
    }
    const std::string text = renamed.dump();
    n = text.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &n, 8);
    return out + text + data;
  };
  for (const auto& [model, prefix, extra] :
       {std::tuple{"mistral", "model.", ""}, std::tuple{"gpt2", "transformer.", "h.0.attn.bias"}}) {
    TempDir dir;
    dir.link_all(fixture(std::string("models/") + model));
    dir.replace("model.safetensors", strip(model, prefix, extra));
    const ModelDescription bare = must_describe(dir.path());
    const ModelDescription full = must_describe(fixture(std::string("models/") + model));
    check_same(bare.config, full.config);
    CHECK(bare.info.n_params == full.info.n_params);
  }
}

TEST_CASE("describe: linear and llama3 scaling follow their formulas") {
  const ModelDescription plain = must_describe(fixture("models/llama-mha"));
  auto config = config_of("llama-mha");
  config["rope_parameters"] = {{"rope_theta", 10000.0}, {"rope_type", "linear"}, {"factor", 4.0}};
  const Result<ModelDescription> linear = describe_with("llama-mha", config);
  REQUIRE(linear.ok());
  for (size_t i = 0; i < 8; ++i) CHECK(linear->config.rope_inv_freq[i] == plain.config.rope_inv_freq[i] / 4.0);

  const ModelDescription llama3 = must_describe(fixture("models/llama-gqa"));
  for (size_t i = 0; i < 8; ++i) {
    const double base = std::pow(500000.0, -2.0 * static_cast<double>(i) / 16.0);
    const double wavelength = 2.0 * std::numbers::pi / base;
    const double smooth = (64.0 / wavelength - 1.0) / (4.0 - 1.0);
    double wanted = base;
    if (wavelength > 64.0)
      wanted = base / 8.0;
    else if (wavelength >= 16.0)
      wanted = (1.0 - smooth) * base / 8.0 + smooth * base;
    CHECK(llama3.config.rope_inv_freq[i] == doctest::Approx(wanted).epsilon(1e-12));
  }
}

TEST_CASE("describe: windows come from sliding_window, layer_types and Qwen's switches") {
  const auto windows = [](const std::string& model, const nlohmann::json& config) {
    const Result<ModelDescription> described = describe_with(model, config);
    if (!described) FAIL(described.error().message);
    std::vector<int> out;
    for (const auto& layer : described->config.layers) out.push_back(layer.window);
    return out;
  };
  auto mistral = config_of("mistral");
  mistral["sliding_window"] = nullptr;
  CHECK(windows("mistral", mistral) == std::vector{0, 0, 0});
  mistral.erase("sliding_window");  // transformers' default
  CHECK(windows("mistral", mistral) == std::vector{4096, 4096, 4096});
  mistral["sliding_window"] = 8;
  mistral["layer_types"] = {"full_attention", "sliding_attention", "full_attention"};
  CHECK(windows("mistral", mistral) == std::vector{0, 8, 0});

  auto qwen = config_of("qwen2");
  qwen.erase("layer_types");
  qwen["sliding_window"] = 8;
  CHECK(windows("qwen2", qwen) == std::vector{0, 0, 0});
  qwen["use_sliding_window"] = true;
  qwen["max_window_layers"] = 1;
  CHECK(windows("qwen2", qwen) == std::vector{0, 8, 8});
}

TEST_CASE("describe: what would change the result and isn't implemented is refused by name") {
  struct Case {
    const char* model;
    const char* key;
    nlohmann::json value;
  };
  const Case cases[] = {
      {"llama-mha", "model_type", "llama9"},
      {"llama-mha", "hidden_act", "gelu"},
      {"llama-mha", "partial_rotary_factor", 0.5},
      {"llama-mha", "attn_logit_softcapping", 50.0},
      {"llama-mha", "final_logit_softcapping", 30.0},
      {"llama-mha", "sliding_window", 16},
      {"llama-mha", "quantization_config", {{"bits", 4}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "dynamic"}, {"factor", 4.0}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "longrope"}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.25}}},
      {"llama-mha", "rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}},
      {"mistral", "attention_bias", true},
      {"qwen2", "mlp_bias", true},
      {"qwen3", "layer_types", {"full_attention", "chunked_attention", "full_attention"}},
      {"gpt2", "activation_function", "relu"},
      {"gpt2", "scale_attn_by_inverse_layer_idx", true},
      {"gpt2", "add_cross_attention", true},
  };
  for (const Case& c : cases) {
    auto config = config_of(c.model);
    config[c.key] = c.value;
    const Result<ModelDescription> described = describe_with(c.model, config);
    CAPTURE(c.model);
    CAPTURE(c.key);
    CAPTURE(c.value.dump());
    REQUIRE_FALSE(described.ok());
    CHECK(described.error().code == ErrorCode::unsupported);
  }
  auto unscaled = config_of("gpt2");
  unscaled["scale_attn_weights"] = false;
  const Result<ModelDescription> described = describe_with("gpt2", unscaled);
  REQUIRE(described.ok());
  CHECK(described->config.attention_scale == 1.0F);
}

TEST_CASE("describe: counts that can't be are bad_format") {
  struct Case {
    const char* model;
    const char* key;
    nlohmann::json value;
  };
  const Case cases[] = {
      {"llama-mha", "hidden_size", 0},
      {"llama-mha", "hidden_size", -64},
      {"llama-mha", "hidden_size", 65},
      {"llama-mha", "hidden_size", "64"},
      {"llama-mha", "hidden_size", 1e300},
      {"llama-mha", "num_hidden_layers", 1000000000000LL},
      {"llama-mha", "num_hidden_layers", 4},
      {"llama-mha", "num_hidden_layers", nullptr},
      {"llama-mha", "num_key_value_heads", 3},
      {"llama-mha", "num_key_value_heads", 0},
      {"llama-mha", "head_dim", 15},
      {"llama-mha", "head_dim", 32},
      {"llama-mha", "vocab_size", 639},
      {"llama-mha", "vocab_size", 0},
      {"llama-mha", "max_position_embeddings", 0},
      {"llama-mha", "max_position_embeddings", 1 << 25},
      {"llama-mha", "rms_norm_eps", -1.0},
      {"llama-mha", "rope_parameters", {{"rope_type", "linear"}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "linear"}, {"factor", 0.0}}},
      {"llama-mha", "rope_parameters", {{"rope_theta", -1.0}}},
      {"llama-mha", "rope_parameters", {{"rope_type", "llama3"}, {"factor", 8.0}}},
      {"mistral", "sliding_window", -1},
      {"qwen2", "layer_types", {"full_attention"}},
      {"gpt2", "n_positions", 128},
  };
  for (const Case& c : cases) {
    auto config = config_of(c.model);
    config[c.key] = c.value;
    const Result<ModelDescription> described = describe_with(c.model, config);
    CAPTURE(c.model);
    CAPTURE(c.key);
    CAPTURE(c.value.dump());
    REQUIRE_FALSE(described.ok());
    CHECK(described.error().code == ErrorCode::bad_format);
  }
}

TEST_CASE("describe: biases that llama's configuration announces are wanted, those a file brings along are used") {
  auto config = config_of("llama-mha");
  config["attention_bias"] = true;
  const Result<ModelDescription> without = describe_with("llama-mha", config);
  REQUIRE_FALSE(without.ok());
  CHECK(without.error().message.find("self_attn.q_proj.bias") != std::string::npos);
  const ModelDescription qwen = must_describe(fixture("models/qwen2"));
  CHECK(qwen.weights.layers[2].q_bias.size == 64);
  CHECK(qwen.weights.layers[2].v_bias.size == 32);
  CHECK_FALSE(static_cast<bool>(qwen.weights.layers[2].o_bias));
  auto as_llama = config_of("qwen2");
  as_llama["model_type"] = "llama";
  const Result<ModelDescription> llama = describe_with("qwen2", as_llama);
  REQUIRE(llama.ok());
  CHECK(llama->weights.layers[2].k_bias.size == 32);
}

TEST_CASE("describe: end ids are the union of every eos and eot, within the vocabulary") {
  TempDir dir;
  dir.link_all(fixture("models/llama-gqa"));
  dir.write("generation_config.json", R"({"eos_token_id": [510, 508, 511, 512, -1, "x"], "do_sample": true,
    "temperature": 0.7, "top_p": 1.5, "top_k": 40, "min_p": "0.1", "repetition_penalty": 0, "typical_p": 0.9,
    "no_repeat_ngram_size": 3})");
  const ModelDescription model = must_describe(dir.path());
  CHECK(model.end_ids == std::vector<int32_t>{508, 510, 511});
  CHECK(model.defaults.do_sample == true);
  CHECK(model.defaults.temperature == 0.7F);
  CHECK_FALSE(model.defaults.top_p.has_value());
  CHECK(model.defaults.top_k == 40);
  CHECK_FALSE(model.defaults.min_p.has_value());
  CHECK_FALSE(model.defaults.repetition_penalty.has_value());
  CHECK(model.defaults.typical_p == 0.9F);
  CHECK(model.defaults.no_repeat_ngram_size == 3);
}

TEST_CASE("describe: a chat template is seen in tokenizer_config.json and beside it") {
  TempDir dir;
  dir.link_all(fixture("models/qwen2"));
  CHECK_FALSE(must_describe(dir.path()).info.has_chat_template);
  dir.write("chat_template.jinja", "{{ messages }}");
  CHECK(must_describe(dir.path()).info.has_chat_template);
  std::filesystem::remove(dir.path("chat_template.jinja"));
  auto config = decant::test::read_json(fixture("models/qwen2/tokenizer_config.json"));
  config["chat_template"] = "{{ messages }}";
  dir.replace("tokenizer_config.json", config.dump());
  CHECK(must_describe(dir.path()).info.has_chat_template);
}

TEST_CASE("describe: paths that aren't models say what to do") {
  const auto failure = [](const std::string& path) {
    const Result<ModelDescription> described = describe(path);
    REQUIRE_FALSE(described.ok());
    CHECK(described.error().message.find(path) != std::string::npos);
    return described.error().code;
  };
  TempDir dir;
  CHECK(failure(dir.path("missing.gguf")) == ErrorCode::io);
  CHECK(failure(dir.path()) == ErrorCode::io);
  CHECK(failure("/dev/null") == ErrorCode::io);
  CHECK(failure(fixture("models/qwen2/model.safetensors")) == ErrorCode::invalid_argument);
  CHECK(failure(fixture("models/qwen2/config.json")) == ErrorCode::bad_format);
  dir.write("empty.gguf", "");
  CHECK(failure(dir.path("empty.gguf")) == ErrorCode::bad_format);
}
