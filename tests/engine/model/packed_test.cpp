// SPDX-License-Identifier: Apache-2.0
// Packed files: what `decant quantize --packed` writes and Model::open maps.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>

#include <doctest/doctest.h>
#include <sys/resource.h>

#include "engine/model/gguf.h"
#include "engine/model/gguf_writer.h"
#include "engine/model/model_parts.h"
#include "engine/model/pack.h"
#include "engine/model/packed_format.h"
#include "engine/quant/format.h"
#include "tests/engine/model/small_model.h"
#include "tests/support/decode.h"
#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

using namespace decant;
using namespace decant::test;
using decant::model::pack_model;
using decant::model::PackOptions;

namespace {

namespace fs = std::filesystem;

ModelOptions open_options(bool map_packed, int n_threads = 2) {
  ModelOptions options;
  options.n_threads = n_threads;
  options.map_packed = map_packed;
  return options;
}

Logits logits_of(const std::shared_ptr<const Model>& model) {
  const std::vector<int32_t> ids = random_ids(20, model->info().vocab_size, 7);
  return prompt_logits(model, ids, logits_options(20));
}

/// Every fixture model, GGUF files and Hugging Face directories.
std::vector<std::string> fixture_models() {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(fixture("gguf")))
    if (entry.path().extension() == ".gguf") paths.push_back(entry.path().string());
  for (const auto& entry : fs::directory_iterator(fixture("models"))) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

void check_same_info(const Model& source, const Model& packed) {
  const ModelInfo &a = source.info(), &b = packed.info();
  CHECK(b.format == "packed");
  CHECK(b.fingerprint == a.fingerprint);
  CHECK(b.name == a.name);
  CHECK(b.architecture == a.architecture);
  CHECK(b.n_params == a.n_params);
  CHECK(b.n_layers == a.n_layers);
  CHECK(b.n_kv_heads == a.n_kv_heads);
  CHECK(b.n_ctx == a.n_ctx);
  CHECK(b.window == a.window);
  CHECK(b.vocab_size == a.vocab_size);
  CHECK(b.tied_head == a.tied_head);
  CHECK(b.has_chat_template == a.has_chat_template);
  CHECK(b.packed_bytes == a.packed_bytes);
  CHECK(std::ranges::equal(source.end_ids(), packed.end_ids()));
  CHECK(source.generation_defaults().temperature == packed.generation_defaults().temperature);
  CHECK(source.generation_defaults().typical_p == packed.generation_defaults().typical_p);
  const Result<const Tokenizer*> tokenizer = source.tokenizer();
  REQUIRE(packed.tokenizer().ok() == tokenizer.ok());
  if (tokenizer)
    CHECK(must((*packed.tokenizer())->encode("The fox, 12 hens.")) == must((*tokenizer)->encode("The fox, 12 hens.")));
}

/// A small model, written and packed.
struct SmallPacked {
  TempDir folder;
  std::string source = folder.path("small.gguf"), packed = folder.path("small.dpk");
  SmallPacked() {
    folder.write("small.gguf", small_gguf().bytes());
    must(pack_model(source, packed));
  }
};

ErrorCode open_code(const std::string& path, bool map_packed) {
  return code_of(Model::open(path, open_options(map_packed, 1)));
}

/// Opens and computes a little; whatever comes is a value. Whether it ran.
bool try_model(const std::string& path, bool map_packed) {
  const Result<std::shared_ptr<const Model>> model = Model::open(path, open_options(map_packed, 1));
  if (!model) {
    CHECK_FALSE(model.error().message.empty());
    CHECK(model.error().code != ErrorCode::internal);
    return false;
  }
  EngineOptions options = logits_options(4);
  options.n_ctx = std::min((*model)->info().n_ctx, 16);
  const Result<std::unique_ptr<Engine>> engine = Engine::create(*model, options);
  if (!engine) return false;
  Request request;
  request.prompt = {0, (*model)->info().vocab_size - 1};
  request.max_new_tokens = 2;
  if (!(*engine)->submit(request)) return false;
  while ((*engine)->n_sequences() > 0)
    if (!(*engine)->step()) return false;
  return true;
}

std::string with_integer(std::string bytes, const char* key, int64_t value) {
  const size_t at = bytes.find(key);
  REQUIRE(at != std::string::npos);
  std::memcpy(bytes.data() + at + std::strlen(key) + 4, &value, sizeof value);  // past the value's type
  return bytes;
}

}  // namespace

TEST_CASE("packed: every model has its source's logits, fingerprint, tokenizer and description, mapped or read") {
  int n_packed = 0;
  for (const std::string& path : fixture_models()) {
    CAPTURE(path);
    const TempDir folder;
    const std::string file = folder.path("model.dpk");
    const Result<std::shared_ptr<const Model>> source = Model::open(path, open_options(true));
    const Status done = pack_model(path, file, {.n_threads = 3, .progress = {}, .stop = {}});
    if (!source) {
      CHECK(code_of(done) == source.error().code);
      CHECK(fs::is_empty(folder.path()));
      continue;
    }
    must(done);
    const Logits expected = logits_of(*source);
    for (const bool map : {true, false}) {
      const std::shared_ptr<const Model> packed = must(Model::open(file, open_options(map, map ? 2 : 3)));
      CHECK(packed->load_times().mapped == map);
      check_same_info(**source, *packed);
      CHECK(logits_of(packed) == expected);
    }
    ++n_packed;
  }
  CHECK(n_packed >= 10);
}

TEST_CASE("packed: a mapped model copies no weight, its tiles lie in the file at whole pages") {
  const SmallPacked small;
  const std::shared_ptr<const Model> model = must(Model::open(small.packed, open_options(true)));
  const model::Weights& weights = model->parts().weights;
  const std::string bytes = read_file(small.packed);
  const size_t offset = static_cast<size_t>(weights.token_embedding.tiles - weights.arena.data());
  CHECK(offset % 4096 == 0);
  CHECK(weights.token_embedding.rows == kSmallVocab);
  REQUIRE(weights.token_embedding.n_tiles == 2);  // the last tile is filled up
  CHECK(std::memcmp(bytes.data() + offset, weights.token_embedding.tiles, weights.token_embedding.bytes()) == 0);
  CHECK(weights.head.tiles == weights.token_embedding.tiles);
}

TEST_CASE("packed: sessions of the source go on in the packed model, and the other way round") {
  const SmallPacked small;
  const auto text = [&](const std::string& first, const std::string& second) {
    const std::string session = small.folder.path("s.kv");
    std::vector<int32_t> ids;
    SequenceId id{};
    {
      const auto engine = must(Engine::create(open_model(first), {}));
      Request request;
      request.prompt = {1, 5, 3};
      request.sampling.temperature = 0.0F;
      request.max_new_tokens = 4;
      request.keep = true;
      id = must(engine->submit(request));
      for (int i = 0; i < 4; ++i) must(engine->step());
      must(engine->save(id, session));
    }
    const auto engine = must(Engine::create(open_model(second), {}));
    id = must(engine->restore(session));
    must(engine->extend(id, {}, 4));
    for (int i = 0; i < 4; ++i)
      for (const Piece& event : must(engine->step()).pieces) ids.push_back(event.token_id);
    return ids;
  };
  const std::vector<int32_t> expected = text(small.source, small.source);
  CHECK(!expected.empty());
  CHECK(text(small.source, small.packed) == expected);
  CHECK(text(small.packed, small.source) == expected);
}

TEST_CASE("packed: reference numerics and a second packing are refused with a reason") {
  const SmallPacked small;
  ModelOptions options;
  options.numerics = Numerics::reference;
  const auto model = Model::open(small.packed, options);
  REQUIRE(!model);
  CHECK(model.error().code == ErrorCode::unsupported);
  CHECK(model.error().message.find("source") != std::string::npos);
  const std::string before = read_file(small.packed);
  CHECK(code_of(pack_model(small.packed, small.packed)) == ErrorCode::invalid_argument);
  CHECK(read_file(small.packed) == before);
  options.numerics = Numerics::fast;
  CHECK(Model::open(small.packed, options).ok());
}

TEST_CASE("packed: a model that was read lives on when its file is cut") {
  const SmallPacked small;
  const std::shared_ptr<const Model> model = must(Model::open(small.packed, open_options(false)));
  fs::resize_file(small.packed, 0);
  CHECK(logits_of(model) == logits_of(open_model(small.source)));
}

TEST_CASE("packed: a failed or cancelled packing leaves the target as it was and nothing beside it") {
  const SmallPacked small;
  const TempDir dir;
  dir.write("out.dpk", "what was here");
  const auto untouched = [&] {
    return std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()) == 1 &&
           read_file(dir.path("out.dpk")) == "what was here";
  };
  CHECK(code_of(pack_model(small.source, dir.path("missing/out.dpk"))) == ErrorCode::io);
  CHECK(code_of(pack_model(dir.path("out.dpk"), dir.path("out.dpk"))) == ErrorCode::bad_format);
  std::stop_source stopped;
  PackOptions options;
  options.stop = stopped.get_token();
  options.progress = [&](size_t, size_t) { stopped.request_stop(); };
  CHECK(code_of(pack_model(small.source, dir.path("out.dpk"), options)) == ErrorCode::cancelled);
  CHECK(untouched());

  // The limit on file sizes stands in for a full disk.
  struct rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const struct rlimit limit = {20'000, before.rlim_max};
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const Status full = pack_model(small.source, dir.path("out.dpk"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(code_of(full) == ErrorCode::io);
  CHECK(untouched());

  size_t last = 0, all = 0;
  options = {};
  options.progress = [&](size_t done, size_t total) {
    CHECK(done > last);
    last = done, all = total;
  };
  CHECK(pack_model(small.source, dir.path("out.dpk"), options).ok());
  CHECK(last == all);
}

TEST_CASE("packed: a file of another layout, or one that says nothing of its source, is refused") {
  const SmallPacked small;
  const std::string good = read_file(small.packed);
  const auto message = [&](const std::string& bytes) {
    small.folder.write("bad.dpk", bytes);
    const auto model = Model::open(small.folder.path("bad.dpk"));
    return model ? std::string() : std::string(to_string(model.error().code)) + " " + model.error().message;
  };
  CHECK(message(good).empty());
  for (const int64_t version : {int64_t{0}, model::kPackedVersion + 1, int64_t{-1}}) {
    const std::string text = message(with_integer(good, model::kPackedVersionKey, version));
    CHECK(text.starts_with("unsupported"));
    CHECK(text.find("layout " + std::to_string(version)) != std::string::npos);
  }
  std::string nameless = good;
  nameless[nameless.find(model::kPackedFingerprintKey)] = 'D';
  CHECK(message(nameless).starts_with("bad_format"));
  std::string unversioned = good;  // its tensors are of types that GGUF doesn't have
  unversioned[unversioned.find(model::kPackedVersionKey)] = 'D';
  CHECK(message(unversioned).find("Q8_0_T16") != std::string::npos);
}

TEST_CASE("packed: matrices that aren't tiles, and tiles that no kernel could read, are refused") {
  const TempDir folder;
  const auto error = [&](GgufBytes bytes, int64_t fingerprint) {
    bytes.pair(model::kPackedVersionKey, 11, GgufBytes::raw(model::kPackedVersion));
    bytes.pair(model::kPackedFingerprintKey, 11, GgufBytes::raw(fingerprint));
    folder.write("x.dpk", bytes.bytes());
    const auto model = Model::open(folder.path("x.dpk"));
    REQUIRE(!model);
    return std::string(to_string(model.error().code)) + " " + model.error().message;
  };
  CHECK(error(small_gguf(), 1).find("not in tiles") != std::string::npos);
  CHECK(error(small_gguf(), -1).starts_with("bad_format"));

  const uint32_t f32 = quant::kFirstTileType, q8_0 = f32 + static_cast<uint32_t>(DType::q8_0);
  const std::string data(256, '\0');
  // 96 bytes apart: one of them is off its cache line.
  CHECK(error(GgufBytes().tensor_at("a", {1, 1}, f32, 0).tensor("b", {64}, 0, data).tensor_at("c", {1, 1}, f32, 96), 1)
            .find("no multiple of 64") != std::string::npos);
  CHECK(error(GgufBytes().tensor("a", {64}, f32, data), 1).find("F32_T16") != std::string::npos);
  CHECK(error(GgufBytes().tensor("a", {1, 1, 1}, f32, data), 1).find("F32_T16") != std::string::npos);
  CHECK(error(GgufBytes().tensor("a", {33, 1}, q8_0, data), 1).find("Q8_0_T16") != std::string::npos);
  CHECK(error(GgufBytes().tensor("a", {uint64_t{1} << 48, 1}, f32, data), 1).starts_with("bad_format"));
  CHECK(error(GgufBytes().tensor("a", {1, uint64_t{1} << 48}, f32, data), 1).starts_with("bad_format"));
}

TEST_CASE("packed: cut anywhere it is refused") {
  const SmallPacked small;
  size_t size = 0;  // to the last tile's end; what follows only fills the page
  const model::ModelDescription description = must(model::describe(small.packed));
  for (const model::TensorInfo& tensor : description.files->tensors())
    size = std::max(size, static_cast<size_t>(tensor.offset + tensor.size_bytes));
  for (size_t n = size - 1, step = 1; n < size; n -= step) {
    CAPTURE(n);
    fs::resize_file(small.packed, n);
    REQUIRE(open_code(small.packed, n % 2 == 0) != ErrorCode::ok);
    step = n > 3000 ? 509 : 17;
    if (n < step) break;
  }
}

TEST_CASE("packed: byte flips give an error or a model that runs") {
  const SmallPacked small;
  const std::string good = read_file(small.packed);
  const size_t header = static_cast<size_t>(good.find("blk.0.ffn_down.weight")) + 64;
  std::mt19937 random(20261123);
  int n_refused = 0, n_ran = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string bad = good;
    const size_t range = i % 4 == 0 ? bad.size() : header;
    for (size_t n = 1 + random() % 3; n > 0; --n) bad[random() % range] = static_cast<char>(random());
    small.folder.write("bad.dpk", bad);
    CAPTURE(i);
    (try_model(small.folder.path("bad.dpk"), i % 2 == 0) ? n_ran : n_refused) += 1;
  }
  CHECK(n_refused > 100);
  CHECK(n_ran > 100);
}

// A packed file of before must not be taken for one of now. If this fails because tiles were changed on purpose,
// kPackedVersion rises with it.
TEST_CASE("packed: tiles of every format are those of the layout's version") {
  std::mt19937 random(1);
  uint64_t hash = 0;
  for (int type = 0; type < kDTypeCount; ++type) {
    const quant::Format& format = quant::format(static_cast<DType>(type));
    constexpr int kCols = 512;
    std::vector<std::vector<std::byte>> rows(quant::kTileRows - 1);  // the last one is missing
    const std::byte* pointers[quant::kTileRows] = {};
    for (size_t r = 0; r < rows.size(); ++r) {
      rows[r].resize(quant::row_bytes(format, kCols));
      for (std::byte& byte : rows[r]) byte = static_cast<std::byte>(random());
      pointers[r] = rows[r].data();
    }
    std::vector<float> tile(quant::tile_bytes(format, kCols) / sizeof(float));
    format.pack_tile(pointers, kCols, reinterpret_cast<std::byte*>(tile.data()));
    hash = hash * 31 + hash_bits(tile);
    CHECK(quant::format_of_tile_type(quant::kFirstTileType + static_cast<uint32_t>(type)) == &format);
    CHECK(std::string(quant::tile_type_name(format.type)) == std::string(format.name) + "_T16");
    CHECK(quant::ggml_type_name(quant::kFirstTileType + static_cast<uint32_t>(type)) ==
          quant::tile_type_name(format.type));
  }
  CHECK(model::kPackedVersion == 1);
  CHECK(hash == 0xa4974458ecb644aaULL);
  CHECK(quant::format_of_tile_type(quant::kFirstTileType + kDTypeCount) == nullptr);
  CHECK(quant::format_of_tile_type(0) == nullptr);
}
