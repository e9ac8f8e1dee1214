// SPDX-License-Identifier: Apache-2.0
#include "engine/model/convert.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/model/gguf.h"
#include "engine/model/model_config.h"
#include "engine/quant/format.h"
#include "engine/tokenizer/tokenizer_source.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

using decant::DType;
using decant::ErrorCode;
using decant::Result;
using decant::Status;
using decant::model::convert;
using decant::model::ConvertOptions;
using decant::model::describe;
using decant::model::GgufModel;
using decant::model::GgufValue;
using decant::model::ModelDescription;
using decant::model::open_gguf;
using decant::model::TensorInfo;
using decant::test::fixture;
using decant::test::TempDir;

namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().message);
  return std::move(*result);
}

std::vector<std::byte> bytes_of(const GgufModel& model, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(tensor.size_bytes);
  REQUIRE(model.files->read(tensor, 0, bytes).ok());
  return bytes;
}

std::vector<float> values_of(const ModelDescription& model, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(tensor.size_bytes);
  REQUIRE(model.files->read(tensor, 0, bytes).ok());
  const auto& format = decant::quant::format(tensor.type);
  const auto n = static_cast<size_t>(tensor.n_elements());
  std::vector<float> values(n);
  format.decode_row(bytes.data(), static_cast<int>(n), values.data());
  return values;
}

bool same_value(const GgufValue* a, const GgufValue* b) {
  if (a == nullptr || b == nullptr || a->index() != b->index()) return false;
  using decant::model::GgufArray;
  if (const auto* x = std::get_if<GgufArray>(a)) {
    const auto& y = std::get<GgufArray>(*b);
    return x->type == y.type && x->bytes == y.bytes;
  }
  if (const auto* x = std::get_if<int64_t>(a)) return *x == std::get<int64_t>(*b);
  if (const auto* x = std::get_if<double>(a)) return *x == std::get<double>(*b);
  if (const auto* x = std::get_if<bool>(a)) return *x == std::get<bool>(*b);
  if (const auto* x = std::get_if<std::string>(a)) return *x == std::get<std::string>(*b);
  return std::get<std::vector<std::string>>(*a) == std::get<std::vector<std::string>>(*b);
}

struct Pair {
  const char* model;
  const char* gguf;
  DType type;
};

// GGUFs of the fixtures that llama.cpp's converter made from these models.
constexpr Pair kPairs[] = {
    {"llama-gqa", "llama-gqa-f32", DType::f32},   {"llama-gqa", "llama-gqa-f16", DType::f16},
    {"llama-gqa", "llama-gqa-q8_0", DType::q8_0}, {"llama-mha", "llama-mha-f16", DType::f16},
    {"qwen2", "qwen2-f16", DType::f16},           {"qwen2", "qwen2-q8_0", DType::q8_0},
    {"qwen3", "qwen3-f16", DType::f16},           {"gpt2", "gpt2-f16", DType::f16},
};

constexpr const char* kKeys[] = {
    "general.architecture",
    "general.type",
    "general.file_type",
    "general.quantization_version",
    "A.block_count",
    "A.context_length",
    "A.embedding_length",
    "A.feed_forward_length",
    "A.attention.head_count",
    "A.attention.head_count_kv",
    "A.attention.key_length",
    "A.attention.value_length",
    "A.rope.freq_base",
    "A.rope.dimension_count",
    "A.vocab_size",
    "A.attention.layer_norm_rms_epsilon",
    "A.attention.layer_norm_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
};

}  // namespace

TEST_CASE("convert: every tensor and every key of llama.cpp's converter comes out the same") {
  TempDir dir;
  for (const Pair& pair : kPairs) {
    const std::string theirs_path = fixture(std::string("gguf/") + pair.gguf + ".gguf");
    if (!std::filesystem::exists(theirs_path)) continue;
    CAPTURE(pair.gguf);
    const std::string ours_path = dir.path(std::string(pair.gguf) + ".gguf");
    const Status converted = convert(fixture(std::string("models/") + pair.model), ours_path, pair.type);
    if (!converted) FAIL(converted.error().message);
    const GgufModel ours = must(open_gguf(ours_path)), theirs = must(open_gguf(theirs_path));

    std::set<std::string> names;
    for (const TensorInfo& tensor : ours.files->tensors()) names.insert(tensor.name);
    for (const TensorInfo& wanted : theirs.files->tensors()) {
      CAPTURE(wanted.name);
      // llama.cpp writes GPT-2's tied head as a second copy.
      const bool copy = std::string(pair.model) == "gpt2" && wanted.name == "output.weight";
      const TensorInfo* const found = ours.files->find(copy ? "token_embd.weight" : wanted.name);
      REQUIRE(found != nullptr);
      names.erase(found->name);
      CHECK(found->type == wanted.type);
      CHECK(found->shape == wanted.shape);
      const auto a = bytes_of(ours, *found), b = bytes_of(theirs, wanted);
      if (wanted.name != "rope_freqs.weight") {
        CHECK(a == b);
        continue;
      }
      for (size_t i = 0; i < a.size() / 4; ++i) {  // ours are rounded once from binary64, theirs computed in float32
        float x, y;
        std::memcpy(&x, a.data() + 4 * i, 4);
        std::memcpy(&y, b.data() + 4 * i, 4);
        CHECK(x == doctest::Approx(y).epsilon(1e-6));
      }
    }
    CHECK(names.empty());

    const std::string architecture = std::get<std::string>(*theirs.metadata.find("general.architecture"));
    for (std::string key : kKeys) {
      if (key.starts_with("A.")) key = architecture + key.substr(1);
      const GgufValue* const wanted = theirs.metadata.find(key);
      if (wanted == nullptr) continue;
      CAPTURE(key);
      CHECK(same_value(ours.metadata.find(key), wanted));
    }
  }
}

TEST_CASE("convert: what was converted is described, and tokenizes, as the directory was") {
  TempDir dir;
  // A Metaspace that looks at the text before it adds a space has no place in GGUF: mistral gets a tokenizer that has.
  dir.link_all(fixture("models/mistral"));
  CHECK(convert(dir.path(), dir.path("out.gguf"), DType::f16).error().code == ErrorCode::unsupported);
  for (const char* const file : {"tokenizer.json", "tokenizer_config.json"})
    dir.replace(file, decant::test::read_file(fixture(std::string("tokenizers/spm-bpe/") + file)));
  const std::tuple<std::string, const char*, const char*> models[] = {
      {fixture("models/llama-mha"), "spm-bpe", "llama"},
      {fixture("models/llama-gqa"), "bpe-llama3", "llama"},
      {dir.path(), "spm-bpe", "llama"},
      {fixture("models/qwen2"), "bpe-qwen2", "qwen2"},
      {fixture("models/qwen3"), "bpe-qwen2", "qwen3"},
      {fixture("models/gpt2"), "bpe-gpt2", "gpt2"}};
  for (const auto& [folder, tokenizer, architecture] : models) {
    const std::string source = folder;
    CAPTURE(source);
    const std::string target = dir.path("out.gguf");
    const Status converted = convert(source, target, DType::bf16);
    if (!converted) FAIL(converted.error().message);
    const ModelDescription before = must(describe(source)), after = must(describe(target));
    CHECK(after.config.layers.size() == before.config.layers.size());
    CHECK(after.config.layers[0].window == before.config.layers[0].window);
    CHECK(after.config.layers[0].n_kv_heads == before.config.layers[0].n_kv_heads);
    CHECK(after.config.tied_head == before.config.tied_head);
    CHECK(after.config.norm_eps == before.config.norm_eps);
    CHECK(after.config.head_dim == before.config.head_dim);
    CHECK(after.config.vocab_size == before.config.vocab_size);
    REQUIRE(after.config.rope_inv_freq.size() == before.config.rope_inv_freq.size());
    for (size_t i = 0; i < after.config.rope_inv_freq.size(); ++i)
      CHECK(after.config.rope_inv_freq[i] == doctest::Approx(before.config.rope_inv_freq[i]).epsilon(1e-6));
    CHECK(after.end_ids == before.end_ids);
    CHECK(after.info.n_params == before.info.n_params);
    CHECK(after.info.name == before.info.name);
    CHECK(after.config.architecture == architecture);

    const auto ours = must(decant::tokenizer::make_tokenizer(after.tokenizer));
    // GGUF has no NFC normalizer: Qwen's tokenizer goes along without it.
    auto json = decant::test::read_json(source + "/tokenizer.json");
    if (std::string(tokenizer) == "bpe-qwen2") json["normalizer"] = nullptr;
    const auto theirs =
        must(decant::tokenizer::make_tokenizer({json.dump(), before.tokenizer.tokenizer_config_json, {}}));
    const auto tests = decant::test::read_json(fixture(std::string("tokenizers/") + tokenizer + "/tests.json"));
    for (const auto& test : tests["encode"]) {
      const auto text = test["text"].get<std::string>();
      CHECK(must(ours->encode(text)) == must(theirs->encode(text)));
    }
  }
}

TEST_CASE("convert: dequantized values are those of encoding and decoding") {
  TempDir dir;
  const ModelDescription source = must(describe(fixture("models/qwen2")));
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0}) {
    CAPTURE(decant::to_string(type));
    REQUIRE(convert(fixture("models/qwen2"), dir.path("q.gguf"), type).ok());
    const ModelDescription out = must(describe(dir.path("q.gguf")));
    CHECK(out.weights.layers[1].down.tensor->type == type);
    CHECK(out.weights.layers[1].attn_norm.tensor->type == DType::f32);
    const std::vector<float> original = values_of(source, *source.weights.layers[1].down.tensor);
    const std::vector<float> stored = values_of(out, *out.weights.layers[1].down.tensor);
    const auto& format = decant::quant::format(type);
    std::vector<std::byte> bytes(decant::quant::row_bytes(format, static_cast<int64_t>(original.size())));
    std::vector<float> wanted(original.size());
    format.encode_row(original.data(), static_cast<int>(original.size()), bytes.data());
    format.decode_row(bytes.data(), static_cast<int>(original.size()), wanted.data());
    CHECK(stored == wanted);
  }
}

TEST_CASE("convert: generation defaults, name, licence and chat template go along") {
  TempDir dir;
  std::filesystem::create_directory(dir.path("model"));
  for (const auto& entry : std::filesystem::directory_iterator(fixture("models/llama-gqa")))
    std::filesystem::create_symlink(std::filesystem::absolute(entry.path()),
                                    dir.path("model/" + entry.path().filename().string()));
  dir.write("model/generation_config.json",
            R"({"do_sample": true, "temperature": 0.75, "top_p": 0.5, "top_k": 7, "eos_token_id": [511, 508]})");
  dir.write("model/chat_template.jinja", "{{ messages }}");
  ConvertOptions options;
  options.name = "A name";
  options.license = "mit";
  options.description = "What it is";
  size_t last = 0, total = 0, n_calls = 0;
  options.progress = [&](size_t done, size_t all) { n_calls += done >= last ? 1 : 0, last = done, total = all; };
  REQUIRE(convert(dir.path("model"), dir.path("out.gguf"), DType::q8_0, options).ok());
  CHECK(last == total);
  CHECK(n_calls == 21);
  const ModelDescription out = must(describe(dir.path("out.gguf")));
  CHECK(out.info.name == "A name");
  CHECK(out.info.has_chat_template);
  CHECK(out.end_ids == std::vector<int32_t>{508, 511});
  CHECK(out.defaults.do_sample == true);
  CHECK(out.defaults.temperature == 0.75F);
  CHECK(out.defaults.top_p == 0.5F);
  CHECK(out.defaults.top_k == 7);
  CHECK(out.tokenizer.gguf->add_bos == true);
  const GgufModel file = must(open_gguf(dir.path("out.gguf")));
  CHECK(std::get<std::string>(*file.metadata.find("general.license")) == "mit");
  CHECK(std::get<std::string>(*file.metadata.find("general.description")) == "What it is");
}

TEST_CASE("convert: a failure leaves the target as it was and nothing beside it") {
  TempDir dir;
  dir.write("out.gguf", "what was here");
  const auto untouched = [&] {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++n;
    return n == 1 && decant::test::read_file(dir.path("out.gguf")) == "what was here";
  };
  const std::string source = fixture("models/llama-gqa");
  CHECK(convert(source, dir.path("out.gguf"), DType::q4_k).error().code == ErrorCode::unsupported);
  CHECK(untouched());
  CHECK(convert(source, dir.path("missing/out.gguf"), DType::f16).error().code == ErrorCode::io);
  CHECK(convert(fixture("gguf/llama-gqa-f16.gguf"), dir.path("out.gguf"), DType::f16).error().code ==
        ErrorCode::invalid_argument);

  std::stop_source stopped;
  ConvertOptions options;
  options.stop = stopped.get_token();
  options.progress = [&](size_t, size_t) { stopped.request_stop(); };
  CHECK(convert(source, dir.path("out.gguf"), DType::f16, options).error().code == ErrorCode::cancelled);
  CHECK(untouched());

  // The limit on file sizes stands in for a full disk.
  struct rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const struct rlimit small = {100'000, before.rlim_max};
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Status full = convert(source, dir.path("out.gguf"), DType::f32);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().code == ErrorCode::io);
  CHECK(untouched());

  REQUIRE(convert(source, dir.path("out.gguf"), DType::f16).ok());
  CHECK(describe(dir.path("out.gguf")).ok());
}

TEST_CASE("convert: a target that is no file is refused and stays what it is") {
  TempDir dir;
  const std::string pipe = dir.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(convert(fixture("models/llama-gqa"), pipe, DType::f16).error().code == ErrorCode::io);
  CHECK(std::filesystem::is_fifo(pipe));
  std::filesystem::create_directory(dir.path("folder"));
  CHECK(convert(fixture("models/llama-gqa"), dir.path("folder"), DType::f16).error().code == ErrorCode::io);
  CHECK(convert(fixture("models/llama-gqa"), "/dev/full", DType::f16).error().code == ErrorCode::io);
  CHECK(std::filesystem::is_character_file("/dev/full"));
}

TEST_CASE("convert: through a link the file behind it is replaced, with its permissions") {
  TempDir dir;
  dir.write("target.gguf", "what was here");
  std::filesystem::permissions(dir.path("target.gguf"), std::filesystem::perms(0640));
  std::filesystem::create_symlink("target.gguf", dir.path("link.gguf"));
  REQUIRE(convert(fixture("models/llama-gqa"), dir.path("link.gguf"), DType::f16).ok());
  CHECK(std::filesystem::is_symlink(dir.path("link.gguf")));
  CHECK(std::filesystem::status(dir.path("target.gguf")).permissions() == std::filesystem::perms(0640));
  CHECK(describe(dir.path("target.gguf")).ok());
}

TEST_CASE("convert: a killed one leaves the old file, and the next one clears up after it") {
  TempDir dir;
  dir.write("out.gguf", "what was here");
  const std::string source = fixture("models/llama-gqa");
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ConvertOptions options;
    options.progress = [](size_t, size_t) { ::kill(::getpid(), SIGKILL); };
    static_cast<void>(convert(source, dir.path("out.gguf"), DType::f16, options));
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
  CHECK(decant::test::read_file(dir.path("out.gguf")) == "what was here");
  const auto n_files = [&dir] {
    return std::distance(std::filesystem::directory_iterator(dir.path()), std::filesystem::directory_iterator());
  };
  CHECK(n_files() == 2);
  REQUIRE(convert(source, dir.path("out.gguf"), DType::f16).ok());
  CHECK(describe(dir.path("out.gguf")).ok());
  CHECK(n_files() == 1);
}

TEST_CASE("convert: rows that Q8_0's blocks don't fit fall back to F16, and a weight beyond F16 is refused") {
  TempDir dir;
  // One layer with rows of 48: gpt2 has few tensors and no rotation.
  const int d = 48;
  std::string data;
  auto header = nlohmann::json::object();
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float value) {
    size_t n = 1;
    for (const int64_t extent : shape) n *= static_cast<size_t>(extent);
    const size_t begin = data.size();
    for (size_t i = 0; i < n; ++i) data.append(reinterpret_cast<const char*>(&value), sizeof value);
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  const auto write_model = [&](float value) {
    data.clear();
    header = nlohmann::json::object();
    add("wte.weight", {8, d}, value);
    add("wpe.weight", {4, d}, 0.5F);
    for (const char* const norm : {"h.0.ln_1", "h.0.ln_2", "ln_f"})
      for (const char* const part : {".weight", ".bias"}) add(norm + std::string(part), {d}, 1.0F);
    add("h.0.attn.c_attn.weight", {d, 3 * d}, 0.25F), add("h.0.attn.c_attn.bias", {3 * d}, 0.0F);
    add("h.0.attn.c_proj.weight", {d, d}, 0.25F), add("h.0.attn.c_proj.bias", {d}, 0.0F);
    add("h.0.mlp.c_fc.weight", {d, 4 * d}, 0.25F), add("h.0.mlp.c_fc.bias", {4 * d}, 0.0F);
    add("h.0.mlp.c_proj.weight", {4 * d, d}, 0.25F), add("h.0.mlp.c_proj.bias", {d}, 0.0F);
    const std::string text = header.dump();
    const uint64_t n = text.size();
    dir.write("model.safetensors", std::string(reinterpret_cast<const char*>(&n), 8) + text + data);
  };
  dir.write("config.json", R"({"model_type": "gpt2", "n_embd": 48, "n_head": 4, "n_layer": 1, "n_positions": 4,
    "vocab_size": 8, "eos_token_id": 7})");
  write_model(0.125F);
  REQUIRE(convert(dir.path(), dir.path("out.gguf"), DType::q8_0).ok());
  const ModelDescription out = must(describe(dir.path("out.gguf")));
  CHECK(out.weights.token_embedding.tensor->type == DType::f16);
  CHECK(out.weights.layers[0].down.tensor->type == DType::q8_0);
  CHECK(out.weights.position_embedding.tensor->type == DType::f32);
  CHECK(out.end_ids == std::vector<int32_t>{7});
  CHECK_FALSE(out.tokenizer.gguf.has_value());

  write_model(70000.0F);
  CHECK(convert(dir.path(), dir.path("out.gguf"), DType::f16).error().code == ErrorCode::bad_format);
  CHECK(convert(dir.path(), dir.path("out.gguf"), DType::bf16).ok());
}

TEST_CASE("convert: the model that DECANT_FABLE_DIR names becomes a file that is read back alike") {
  const char* const folder = std::getenv("DECANT_FABLE_DIR");
  if (folder == nullptr) return;
  TempDir dir;
  REQUIRE(convert(folder, dir.path("fable.gguf"), DType::q8_0).ok());
  const ModelDescription before = must(describe(folder)), after = must(describe(dir.path("fable.gguf")));
  CHECK(after.info.n_params == before.info.n_params);
  CHECK(after.end_ids == before.end_ids);
  CHECK(after.config.rope_inv_freq == before.config.rope_inv_freq);
  CHECK(after.defaults.temperature == before.defaults.temperature);
  const auto a = must(decant::tokenizer::make_tokenizer(before.tokenizer));
  const auto b = must(decant::tokenizer::make_tokenizer(after.tokenizer));
  const std::string text = decant::test::read_file(std::string(folder) + "/valid.txt");
  CHECK(must(a->encode(text)) == must(b->encode(text)));
}
