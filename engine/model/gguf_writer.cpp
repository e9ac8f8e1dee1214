// SPDX-License-Identifier: Apache-2.0
#include "engine/model/gguf_writer.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "decant/detail/check.h"
#include "decant/detail/format.h"

#include "engine/quant/format.h"

namespace decant::model {

namespace {

constexpr uint64_t kDefaultAlignment = 32;
// Writes of whole huge pages at multiples of them: file systems that can keep them so, and a packed file is mapped so.
constexpr size_t kBufferBytes = size_t{4} << 20;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_string(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

template <typename T>
void put_all(std::string& out, std::span<const T> values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

}  // namespace

GgufWriter::GgufWriter(std::string path, uint64_t alignment) : path_(std::move(path)), alignment_(alignment) {
  if (alignment != kDefaultAlignment) add_u32("general.alignment", static_cast<uint32_t>(alignment));
}

void GgufWriter::add_key(std::string_view key, uint32_t type) {
  put_string(pairs_, key);
  put(pairs_, type);
  ++n_pairs_;
}

void GgufWriter::add_array(std::string_view key, uint32_t element_type, size_t count) {
  add_key(key, static_cast<uint32_t>(GgufType::array));
  put(pairs_, element_type);
  put(pairs_, static_cast<uint64_t>(count));
}

void GgufWriter::add_u32(std::string_view key, uint32_t value) {
  add_key(key, static_cast<uint32_t>(GgufType::u32));
  put(pairs_, value);
}

void GgufWriter::add_i32(std::string_view key, int32_t value) {
  add_key(key, static_cast<uint32_t>(GgufType::i32));
  put(pairs_, value);
}

void GgufWriter::add_f32(std::string_view key, float value) {
  add_key(key, static_cast<uint32_t>(GgufType::f32));
  put(pairs_, value);
}

void GgufWriter::add_bool(std::string_view key, bool value) {
  add_key(key, static_cast<uint32_t>(GgufType::boolean));
  put(pairs_, static_cast<uint8_t>(value ? 1 : 0));
}

void GgufWriter::add_string(std::string_view key, std::string_view value) {
  add_key(key, static_cast<uint32_t>(GgufType::string));
  put_string(pairs_, value);
}

void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  add_array(key, static_cast<uint32_t>(GgufType::string), values.size());
  for (const std::string& value : values) put_string(pairs_, value);
}

void GgufWriter::add_floats(std::string_view key, std::span<const float> values) {
  add_array(key, static_cast<uint32_t>(GgufType::f32), values.size());
  put_all(pairs_, values);
}

void GgufWriter::add_i32s(std::string_view key, std::span<const int32_t> values) {
  add_array(key, static_cast<uint32_t>(GgufType::i32), values.size());
  put_all(pairs_, values);
}

void GgufWriter::add_value(std::string_view key, const GgufValue& value) {
  const auto number = [&](GgufType type, auto raw) {
    add_key(key, static_cast<uint32_t>(type));
    put(pairs_, raw);
  };
  if (const auto* const integer = std::get_if<int64_t>(&value)) return number(GgufType::i64, *integer);
  if (const auto* const large = std::get_if<uint64_t>(&value)) return number(GgufType::u64, *large);
  if (const auto* const real = std::get_if<double>(&value)) return number(GgufType::f64, *real);
  if (const auto* const boolean = std::get_if<bool>(&value)) return add_bool(key, *boolean);
  if (const auto* const text = std::get_if<std::string>(&value)) return add_string(key, *text);
  if (const auto* const texts = std::get_if<std::vector<std::string>>(&value)) return add_strings(key, *texts);
  const auto& array = std::get<GgufArray>(value);
  add_array(key, static_cast<uint32_t>(array.type), static_cast<size_t>(array.count));
  put_all(pairs_, std::span(array.bytes));
}

void GgufWriter::declare(std::string_view name, std::span<const int64_t> shape, uint32_t type, uint64_t size_bytes) {
  DECANT_CHECK(!file_, "tensors are declared before begin()");
  put_string(tensors_, name);
  put(tensors_, static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i-- > 0;) put(tensors_, static_cast<uint64_t>(shape[i]));
  put(tensors_, type);
  put(tensors_, data_end_);
  tensor_bytes_.push_back(size_bytes);
  data_end_ = aligned(data_end_ + size_bytes);
}

void GgufWriter::add_tiles(std::string_view name, int64_t rows, int64_t cols, DType type) {
  const int64_t shape[] = {rows, cols};
  const auto n_tiles = static_cast<uint64_t>(quant::n_tiles(rows));
  declare(name, shape, quant::kFirstTileType + static_cast<uint32_t>(type),
          n_tiles * quant::tile_bytes(quant::format(type), cols));
}

void GgufWriter::add_tensor(std::string_view name, std::span<const int64_t> shape, DType type) {
  const quant::Format& format = quant::format(type);
  const int64_t rows = std::accumulate(shape.begin(), shape.end() - 1, int64_t{1}, std::multiplies<>());
  declare(name, shape, format.ggml_type, static_cast<uint64_t>(rows) * quant::row_bytes(format, shape.back()));
}

uint64_t GgufWriter::data_bytes() const noexcept {
  return std::accumulate(tensor_bytes_.begin(), tensor_bytes_.end(), uint64_t{0});
}

Status GgufWriter::begin() {
  Result<cache::AtomicFile> file = cache::AtomicFile::create(path_, 0666);
  if (!file) return std::move(file).error();
  file_ = std::move(*file);
  buffer_.reserve(kBufferBytes);

  std::string head = "GGUF";
  put(head, uint32_t{3});
  put(head, static_cast<uint64_t>(tensor_bytes_.size()));
  put(head, n_pairs_);
  for (const std::string* const section : {&std::as_const(head), &std::as_const(pairs_), &std::as_const(tensors_)})
    if (Status written = append(std::as_bytes(std::span(*section))); !written) return written;
  return pad();
}

Status GgufWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (buffer_.size() == kBufferBytes)
      if (Status flushed = flush(); !flushed) return flushed;
    const size_t n = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    position_ += n;
  }
  return {};
}

Status GgufWriter::pad() {
  static constexpr std::byte kZeros[64] = {};
  while (position_ != aligned(position_)) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(aligned(position_) - position_, sizeof kZeros));
    if (Status padded = append(std::span(kZeros).first(n)); !padded) return padded;
  }
  return {};
}

Status GgufWriter::flush() {
  Status written = file_->write(buffer_);
  if (written) buffer_.clear();
  return written;
}

Status GgufWriter::write(std::span<const std::byte> bytes) {
  if (!file_ || current_ >= tensor_bytes_.size() || bytes.size() > tensor_bytes_[current_] - current_bytes_)
    return Error{ErrorCode::internal, detail::format("{}: more bytes than the tensors declared", path_)};
  if (Status written = append(bytes); !written) return written;
  current_bytes_ += bytes.size();
  if (current_bytes_ < tensor_bytes_[current_]) return {};
  ++current_;
  current_bytes_ = 0;
  return pad();
}

Status GgufWriter::finish() {
  if (!file_ || current_ != tensor_bytes_.size())
    return Error{ErrorCode::internal, detail::format("{}: tensor {} is not complete", path_, current_)};
  if (Status flushed = flush(); !flushed) return flushed;
  return file_->commit();
}

}  // namespace decant::model
