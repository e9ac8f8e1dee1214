// SPDX-License-Identifier: Apache-2.0
#include "engine/model/pack.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "engine/model/gguf.h"
#include "engine/model/gguf_writer.h"
#include "engine/model/hf_texts.h"
#include "engine/model/packed_format.h"
#include "engine/model/weight_slots.h"
#include "engine/thread_pool.h"

namespace decant::model {

namespace {

constexpr const char* kRopeDivisors = "rope_freqs.weight";
constexpr size_t kPieceBytes = size_t{4} << 20;  // written between two looks at `stop`

class Packer {
 public:
  Packer(const std::string& path, const std::string& packed_path, const PackOptions& options)
      : path_(path), options_(options), writer_(packed_path, kPackedAlignment) {}

  Status run();

 private:
  Status load();
  Status add_metadata();
  Status add_rope_divisors();
  void add_tensors();
  void add(const std::string& name, const Matrix& matrix);
  void add(const std::string& name, const Vector& vector, int64_t size);
  Status write(std::span<const std::byte> bytes);

  const std::string& path_;
  const PackOptions& options_;
  GgufWriter writer_;
  ModelDescription model_;
  Weights weights_;
  std::vector<float> rope_divisors_;
  std::vector<std::span<const std::byte>> data_;  // of the tensors, in the order of their declaration
  size_t bytes_done_ = 0;
};

Status Packer::load() {
  Result<ModelDescription> described = describe(path_);
  if (!described) return described.error();
  model_ = std::move(*described);
  if (model_.packed_fingerprint)
    return Error{ErrorCode::invalid_argument, detail::format("{}: is packed already", path_)};
  Result<std::unique_ptr<ThreadPool>> pool =
      ThreadPool::create(options_.n_threads > 0 ? options_.n_threads : default_thread_count());
  if (!pool) return pool.error();
  ModelOptions options;
  options.stop = options_.stop;
  Result<Weights> weights = load_weights(model_, options, **pool);
  if (!weights) return weights.error();
  weights_ = std::move(*weights);
  return {};
}

Status Packer::add_metadata() {
  writer_.add_value(kPackedVersionKey, GgufValue(kPackedVersion));
  writer_.add_value(kPackedFingerprintKey, GgufValue(static_cast<int64_t>(weights_.fingerprint)));
  if (model_.info.format != "gguf") {
    Result<HfTexts> texts = read_hf_texts(path_);
    if (!texts) return texts.error();
    writer_.add_string("general.architecture", model_.config.architecture);
    writer_.add_string("general.name", model_.info.name);
    add_hf_texts(writer_, *texts);
    return {};
  }
  Result<GgufModel> source = open_gguf(path_);
  if (!source) return source.error();
  if (source->metadata.find("general.name") == nullptr) writer_.add_string("general.name", model_.info.name);
  for (const auto& [key, value] : source->metadata.values())
    if (key != "general.alignment" && !key.starts_with("split.") && !key.starts_with("decant.packed."))
      writer_.add_value(key, value);
  return add_rope_divisors();
}

Status Packer::add_rope_divisors() {
  const TensorInfo* const tensor = model_.files->find(kRopeDivisors);
  if (tensor == nullptr || model_.config.rope_inv_freq.empty()) return {};
  rope_divisors_.resize(static_cast<size_t>(tensor->n_elements()));  // F32, as describe() has made sure
  return model_.files->read(*tensor, 0, std::as_writable_bytes(std::span(rope_divisors_)));
}

void Packer::add(const std::string& name, const Matrix& matrix) {
  writer_.add_tiles(name + ".weight", matrix.rows, matrix.cols, matrix.format->type);
  data_.emplace_back(matrix.tiles, matrix.tile_bytes * static_cast<size_t>(matrix.n_tiles));
}

void Packer::add(const std::string& name, const Vector& vector, int64_t size) {
  const int64_t shape[] = {size};
  writer_.add_tensor(name, shape, DType::f32);
  data_.push_back(std::as_bytes(std::span(vector.data(), static_cast<size_t>(size))));
}

// Vectors first: they are read one by one, from few pages. Then the matrices in the order of their use.
void Packer::add_tensors() {
  const TensorNames& names = packed_names();
  const WeightSources& from = model_.weights;
  if (!rope_divisors_.empty()) {
    const int64_t shape[] = {static_cast<int64_t>(rope_divisors_.size())};
    writer_.add_tensor(kRopeDivisors, shape, DType::f32);
    data_.push_back(std::as_bytes(std::span(rope_divisors_)));
  }
  const auto prefix = [&names](size_t layer) {
    std::string text = names.layer;
    return text.replace(text.find("{}"), 2, std::to_string(layer));
  };
  for (size_t i = 0; i < from.layers.size(); ++i)
    for (const VectorSlot& slot : kLayerVectors)
      if (const VectorSource& source = from.layers[i].*slot.source)
        add(prefix(i) + names.*slot.name + slot.suffix, weights_.layers[i].*slot.vector, source.size);
  add(std::string(names.out_norm) + ".weight", weights_.out_norm, from.out_norm.size);
  if (from.out_norm_bias) add(std::string(names.out_norm) + ".bias", weights_.out_norm_bias, from.out_norm_bias.size);

  add(names.token_embedding, weights_.token_embedding);
  if (from.position_embedding) add(names.position_embedding, weights_.position_embedding);
  for (size_t i = 0; i < from.layers.size(); ++i)
    for (const MatrixSlot& slot : kLayerMatrices)
      if (from.layers[i].*slot.source) add(prefix(i) + names.*slot.name, weights_.layers[i].*slot.matrix);
  if (from.head) add(names.head, weights_.head);
}

Status Packer::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (options_.stop.stop_requested()) return Error{ErrorCode::cancelled, "the packing was cancelled"};
    const size_t n = std::min(bytes.size(), kPieceBytes);
    if (Status written = writer_.write(bytes.first(n)); !written) return written;
    bytes = bytes.subspan(n);
    bytes_done_ += n;
    if (options_.progress) options_.progress(bytes_done_, static_cast<size_t>(writer_.data_bytes()));
  }
  return {};
}

Status Packer::run() {
  if (Status loaded = load(); !loaded) return loaded;
  if (Status added = add_metadata(); !added) return added;
  add_tensors();
  if (Status begun = writer_.begin(); !begun) return begun;
  for (const std::span<const std::byte> bytes : data_)
    if (Status written = write(bytes); !written) return written;
  return writer_.finish();
}

}  // namespace

Status pack_model(const std::string& path, const std::string& packed_path, const PackOptions& options) {
  const detail::FpState fp_state;
  try {
    return Packer(path, packed_path, options).run();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "out of memory"};
  }
}

}  // namespace decant::model
