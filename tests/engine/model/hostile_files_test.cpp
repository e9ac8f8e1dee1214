// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/model/model_config.h"
#include "engine/model/printable.h"
#include "tests/engine/model/small_model.h"
#include "tests/support/temp_dir.h"

using decant::ErrorCode;
using decant::Result;
using decant::model::describe;
using decant::model::ModelDescription;
using decant::model::TensorInfo;
using decant::test::GgufBytes;
using decant::test::small_config;
using decant::test::small_gguf;
using decant::test::small_safetensors;
using decant::test::small_tensors;
using decant::test::TempDir;

namespace {

std::atomic<size_t> largest_allocation{0};

void* allocate(size_t size) {
  size_t seen = largest_allocation.load(std::memory_order_relaxed);
  while (size > seen && !largest_allocation.compare_exchange_weak(seen, size)) {
  }
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace {

/// A file whose bytes are changed in place.
class EditedFile {
 public:
  EditedFile(const std::string& path, std::string bytes)
      : bytes_(std::move(bytes)), descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (::pwrite(descriptor_, bytes_.data(), bytes_.size(), 0) != static_cast<ssize_t>(bytes_.size())) std::abort();
  }
  ~EditedFile() { ::close(descriptor_); }
  EditedFile(const EditedFile&) = delete;
  EditedFile& operator=(const EditedFile&) = delete;

  size_t size() const { return bytes_.size(); }
  void set(size_t at, char value) {
    if (::pwrite(descriptor_, &value, 1, static_cast<off_t>(at)) != 1) std::abort();
  }
  void restore(size_t at) { set(at, bytes_[at]); }
  void truncate(size_t size) {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) std::abort();
  }

 private:
  std::string bytes_;
  int descriptor_;
};

/// Whether describe() gives an error with a message, or a model whose every weight can be read.
bool survives(const std::string& path) {
  const Result<ModelDescription> model = describe(path);
  if (!model) {
    const ErrorCode code = model.error().code;
    return !model.error().message.empty() && code != ErrorCode::internal && code != ErrorCode::ok;
  }
  for (const TensorInfo& tensor : model->files->tensors()) {
    std::vector<std::byte> bytes(tensor.size_bytes);
    if (!model->files->read(tensor, 0, bytes)) return false;
  }
  return true;
}

constexpr size_t kAllowed = size_t{1} << 20;  // the files here are of some kilobytes

/// Flips in the first `region` bytes: a bit, or a byte that matters to formats (0, 0xFF, digits, brackets, quotes).
void check_flips(EditedFile& file, size_t region, const std::string& path, int n, uint64_t seed) {
  constexpr char kTelling[] = {'\0', '\xFF', '\x7F', '0', '9', '-', '"', '{', '}', '[', ']', ',', ':', ' ', 'e', '\\'};
  std::mt19937_64 random(seed);
  int n_failed = 0;
  largest_allocation = 0;
  for (int i = 0; i < n; ++i) {
    const size_t at = random() % region;
    const uint64_t choice = random();
    const bool telling = choice % 2 == 0;
    file.set(at, telling ? kTelling[(choice >> 8) % sizeof kTelling] : static_cast<char>(choice >> 8));
    n_failed += survives(path) ? 0 : 1;
    file.restore(at);
  }
  CHECK(n_failed == 0);
  CHECK(largest_allocation < kAllowed);
  CHECK(describe(path).ok());
}

void check_truncations(EditedFile& file, size_t header, const std::string& path) {
  largest_allocation = 0;
  int n_failed = 0;
  size_t size = file.size() - 1;
  while (true) {
    file.truncate(size);
    const Result<ModelDescription> model = describe(path);
    n_failed += model.ok() || model.error().code == ErrorCode::internal ? 1 : 0;
    if (size == 0) break;
    size -= size > header + 64 ? 61 : 1;  // every length of the header, a sample of the rest
  }
  CHECK(n_failed == 0);
  CHECK(largest_allocation < kAllowed);
}

void write_directory(const TempDir& dir) {
  dir.write("config.json", small_config());
  dir.write("model.safetensors", small_safetensors(0, small_tensors().size()));
}

void write_shards(const TempDir& dir, std::string& index) {
  dir.write("config.json", small_config());
  dir.write("model-1.safetensors", small_safetensors(0, 5));
  dir.write("model-2.safetensors", small_safetensors(5, small_tensors().size()));
  auto map = nlohmann::json::object();
  for (size_t i = 0; i < small_tensors().size(); ++i)
    map[small_tensors()[i].hf] = i < 5 ? "model-1.safetensors" : "model-2.safetensors";
  index = nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump(1);
}

ErrorCode code_of(const TempDir& dir, const std::string& bytes, const std::string& named = "") {
  dir.replace("crafted.gguf", bytes);
  largest_allocation = 0;
  const Result<ModelDescription> model = describe(dir.path("crafted.gguf"));
  CHECK(largest_allocation < kAllowed);
  if (model) return ErrorCode::ok;
  CAPTURE(model.error().message);
  CHECK(model.error().message.find(named) != std::string::npos);
  return model.error().code;
}

}  // namespace

TEST_CASE("hostile GGUF: every truncation is an error, every flipped byte an error or a model that can be read") {
  TempDir dir;
  const GgufBytes gguf = small_gguf();
  const std::string path = dir.path("small.gguf"), header = gguf.header();
  EditedFile file(path, gguf.bytes());
  REQUIRE(describe(path).ok());
  check_flips(file, header.size(), path, 10'000, 1);
  check_truncations(file, header.size(), path);
}

TEST_CASE(
    "hostile safetensors: every truncation is an error, every flipped byte an error or a model that can be read") {
  TempDir dir;
  write_directory(dir);
  const std::string bytes = small_safetensors(0, small_tensors().size());
  const size_t header = bytes.find(std::string(64, '\0'), 8);
  EditedFile file(dir.path("model.safetensors"), bytes);
  REQUIRE(describe(dir.path()).ok());
  check_flips(file, header, dir.path(), 10'000, 2);
  check_truncations(file, header, dir.path());
}

TEST_CASE(
    "hostile config.json: every truncation is an error, every flipped byte an error or a model that can be read") {
  TempDir dir;
  write_directory(dir);
  EditedFile file(dir.path("config.json"), small_config());
  REQUIRE(describe(dir.path()).ok());
  check_flips(file, file.size(), dir.path(), 10'000, 3);
  check_truncations(file, file.size(), dir.path());
}

TEST_CASE("hostile index: every truncation is an error, every flipped byte an error or a model that can be read") {
  TempDir dir;
  std::string index;
  write_shards(dir, index);
  EditedFile file(dir.path("model.safetensors.index.json"), index);
  REQUIRE(describe(dir.path()).ok());
  check_flips(file, file.size(), dir.path(), 10'000, 4);
  check_truncations(file, file.size(), dir.path());
}

TEST_CASE("hostile index: a shard's name can't leave the directory") {
  TempDir dir;
  std::string index;
  write_shards(dir, index);
  for (const char* const name : {"../model-1.safetensors", "/etc/passwd", "sub/model-1.safetensors", "..", "",
                                 "config.json", "missing.safetensors"}) {
    auto json = nlohmann::json::parse(index);
    json["weight_map"]["model.norm.weight"] = name;
    dir.write("model.safetensors.index.json", json.dump());
    const Result<ModelDescription> model = describe(dir.path());
    CAPTURE(name);
    REQUIRE_FALSE(model.ok());
    CHECK(model.error().code == (std::string(name) == "missing.safetensors" ? ErrorCode::io : ErrorCode::bad_format));
  }
}

TEST_CASE("hostile safetensors: a type decant lacks is named, a name twice and overlapping bytes are refused") {
  TempDir dir;
  write_directory(dir);
  const std::string good = small_safetensors(0, small_tensors().size());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string bytes = good;
    uint64_t n = 0;
    std::memcpy(&n, bytes.data(), 8);
    const size_t at = bytes.find(from);
    REQUIRE(at != std::string::npos);
    bytes.replace(at, from.size(), to);
    n += to.size() - from.size();
    std::memcpy(bytes.data(), &n, 8);
    dir.replace("model.safetensors", bytes);
    const Result<ModelDescription> model = describe(dir.path());
    REQUIRE_FALSE(model.ok());
    return model.error();
  };
  const decant::Error type = with("\"F32\"", "\"F8_E4M3\"");
  CHECK(type.code == ErrorCode::unsupported);
  CHECK(type.message.find("F8_E4M3") != std::string::npos);
  CHECK(with("model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight").code ==
        ErrorCode::bad_format);
  CHECK(with("\"data_offsets\":[0,", "\"data_offsets\":[4,").code == ErrorCode::bad_format);
  CHECK(with("\"shape\":[24,32]", "\"shape\":[4294967296,4294967296,4294967296]").code == ErrorCode::bad_format);
  CHECK(with("\"shape\":[24,32]", "\"shape\":[32,24]").code == ErrorCode::bad_format);
}

TEST_CASE("hostile GGUF: counts beyond the file fail before memory is taken") {
  TempDir dir;
  const std::string head = "GGUF" + GgufBytes::raw(uint32_t{3});
  const auto huge = GgufBytes::raw(uint64_t{1} << 60);
  const std::string padding(100, '\0');
  CHECK(code_of(dir, head + huge + GgufBytes::raw(uint64_t{0}) + padding, "tensors") == ErrorCode::bad_format);
  CHECK(code_of(dir, head + GgufBytes::raw(uint64_t{0}) + huge + padding, "metadata") == ErrorCode::bad_format);
  for (const uint32_t element : {0U, 4U, 8U, 10U}) {
    GgufBytes gguf;
    gguf.array("tokenizer.ggml.tokens", element, uint64_t{1} << 60, padding);
    CHECK(code_of(dir, gguf.bytes()) == ErrorCode::bad_format);
  }
  GgufBytes key;
  key.pair("x", 8, huge + padding);
  CHECK(code_of(dir, key.bytes()) == ErrorCode::bad_format);
  GgufBytes layers = small_gguf();
  layers.u32("llama.rope.dimension_count", 16);
  CHECK(code_of(dir, layers.bytes()) == ErrorCode::ok);
}

TEST_CASE("hostile GGUF: what contradicts the format is bad_format, what decant lacks is unsupported by name") {
  TempDir dir;
  GgufBytes version = small_gguf();
  version.version = 1;
  CHECK(code_of(dir, version.bytes(), "version 1") == ErrorCode::unsupported);
  version.version = 0x03000000;
  CHECK(code_of(dir, version.bytes(), "big-endian") == ErrorCode::unsupported);
  version.version = 2;
  CHECK(code_of(dir, version.bytes()) == ErrorCode::ok);
  CHECK(code_of(dir, std::string(200, 'x'), "not a GGUF") == ErrorCode::bad_format);

  const std::string data(32 * 32 * 4, '\0');
  CHECK(code_of(dir, small_gguf().tensor("x", {256}, 16, data).bytes(), "IQ2_XXS") == ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().tensor("x", {31}, 8, data).bytes()) == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor("x", {0}, 0, data).bytes()) == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor("x", {1, 1, 1, 1, 1}, 0, data).bytes()) == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor("x", {1ULL << 40, 1ULL << 40}, 0, data).bytes()) == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor_at("x", {8}, 0, 0).bytes(), "overlap") == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor_at("x", {8}, 0, 4).bytes(), "multiple") == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor_at("x", {8}, 0, 1ULL << 50).bytes()) == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor("output_norm.weight", {8}, 0, data).bytes(), "two tensors") ==
        ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().tensor("blk.0.attn_q_norm.weight", {16}, 0, data).bytes(), "attn_q_norm") ==
        ErrorCode::unsupported);

  CHECK(code_of(dir, small_gguf().u32("llama.block_count", 1).bytes(), "twice") == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().array("x", 9, 1, std::string(100, '\0')).bytes(), "arrays") == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().pair("x", 99, "").bytes(), "type 99") == ErrorCode::bad_format);
  CHECK(code_of(dir, small_gguf().pair("x", 7, "\2").bytes(), "bool") == ErrorCode::bad_format);
  for (const uint32_t alignment : {0U, 3U, 1U << 30})
    CHECK(code_of(dir, small_gguf().u32("general.alignment", alignment).bytes()) == ErrorCode::bad_format);

  CHECK(code_of(dir, small_gguf().str("llama.rope.scaling.type", "yarn").bytes(), "yarn") == ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().u32("llama.rope.dimension_count", 8).bytes(), "8 of 16") == ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().u32("llama.expert_count", 8).bytes(), "expert_count") == ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().f32("llama.attn_logit_softcapping", 50.0F).bytes(), "softcapping") ==
        ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().u32("llama.attention.value_length", 8).bytes()) == ErrorCode::unsupported);
  CHECK(code_of(dir, small_gguf().str("general.type", "adapter").bytes(), "adapter") == ErrorCode::unsupported);
  GgufBytes other;
  CHECK(code_of(dir, other.str("general.architecture", "mamba").bytes(), "mamba") == ErrorCode::unsupported);
}

TEST_CASE("printable: names from files become short UTF-8 without control characters") {
  using decant::model::printable;
  CHECK(printable("blk.0.attn_q.weight") == "blk.0.attn_q.weight");
  CHECK(printable("é▁\U0001F600") == "é▁\U0001F600");
  CHECK(printable("a\x1b[31m\n\x7f") == "a?[31m??");
  CHECK(printable("\xC0\xAF\xED\xA0\x80\xF5\xE9") == "???????");
  CHECK(printable(std::string(1000, 'x')).size() < 200);
}

TEST_CASE("GGUF: windows, factors of frequencies, linear scaling and sampling defaults are read from metadata") {
  TempDir dir;
  std::string factors;
  for (int i = 0; i < 8; ++i) factors += GgufBytes::raw(static_cast<float>(i + 1));
  dir.write("a.gguf", small_gguf().bytes());
  dir.write("b.gguf",
            small_gguf().tensor("rope_freqs.weight", {8}, 0, factors).f32("llama.rope.scaling.factor", 2.0F).bytes());
  const Result<ModelDescription> plain = describe(dir.path("a.gguf")), scaled = describe(dir.path("b.gguf"));
  REQUIRE(plain.ok());
  REQUIRE(scaled.ok());
  CHECK(plain->config.layers[0].window == 16);
  CHECK(plain->defaults.temperature == 0.5F);
  CHECK(plain->defaults.top_k == 5);
  CHECK(plain->end_ids == std::vector<int32_t>{2});
  CHECK(plain->info.n_params == scaled->info.n_params);
  for (size_t i = 0; i < 8; ++i)
    CHECK(scaled->config.rope_inv_freq[i] ==
          doctest::Approx(plain->config.rope_inv_freq[i] / 2.0 / static_cast<double>(i + 1)).epsilon(1e-12));
}

TEST_CASE("split GGUF: any file of it opens the whole; a missing, renamed or foreign file is a clear error") {
  TempDir dir;
  const auto name = [](int i) { return "model-0000" + std::to_string(i + 1) + "-of-00003.gguf"; };
  const size_t cuts[] = {0, 0, 6, small_tensors().size()};  // the first file has metadata only
  const auto part = [&](int i, uint16_t number, uint16_t count) {
    GgufBytes out;
    if (i == 0) decant::test::add_small_metadata(out);
    out.u16("split.no", number).u16("split.count", count).i32("split.tensors.count", 11);
    decant::test::add_small_tensors(out, cuts[i], cuts[i + 1]);
    return out.bytes();
  };
  for (int i = 0; i < 3; ++i) dir.write(name(i), part(i, static_cast<uint16_t>(i), 3));
  dir.write("whole.gguf", small_gguf().bytes());
  const Result<ModelDescription> whole = describe(dir.path("whole.gguf"));
  REQUIRE(whole.ok());
  for (int i = 0; i < 3; ++i) {
    const Result<ModelDescription> split = describe(dir.path(name(i)));
    if (!split) FAIL(split.error().message);
    CHECK(split->info.n_params == whole->info.n_params);
    CHECK(split->config.vocab_size == whole->config.vocab_size);
    for (const TensorInfo& wanted : whole->files->tensors()) {
      const TensorInfo* const found = split->files->find(wanted.name);
      REQUIRE(found != nullptr);
      std::vector<std::byte> a(wanted.size_bytes), b(found->size_bytes);
      REQUIRE(whole->files->read(wanted, 0, a).ok());
      REQUIRE(split->files->read(*found, 0, b).ok());
      CHECK(a == b);
    }
  }

  const auto failure = [&](const std::string& path, const std::string& named) {
    const Result<ModelDescription> split = describe(path);
    REQUIRE_FALSE(split.ok());
    CAPTURE(split.error().message);
    CHECK(split.error().message.find(named) != std::string::npos);
    return split.error().code;
  };
  dir.write("renamed.gguf", part(1, 1, 3));
  CHECK(failure(dir.path("renamed.gguf"), "-00002-of-00003.gguf") == ErrorCode::bad_format);
  dir.write(name(2), part(2, 1, 3));
  CHECK(failure(dir.path(name(0)), name(2)) == ErrorCode::bad_format);
  dir.write(name(2), part(1, 2, 3));
  CHECK(failure(dir.path(name(0)), "tensors") == ErrorCode::bad_format);
  dir.write(name(2), part(2, 2, 3));
  CHECK(describe(dir.path(name(0))).ok());
  std::filesystem::remove(dir.path(name(1)));
  CHECK(failure(dir.path(name(0)), name(1)) == ErrorCode::io);
}
