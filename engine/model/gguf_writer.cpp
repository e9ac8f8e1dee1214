// SPDX-License-Identifier: Apache-2.0
#include "engine/model/gguf_writer.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "decant/detail/check.h"
#include "decant/detail/format.h"

#include "engine/model/gguf.h"
#include "engine/quant/format.h"

namespace decant::model {

namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kBufferBytes = size_t{1} << 20;

uint64_t aligned(uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

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

void GgufWriter::add_tensor(std::string_view name, std::span<const int64_t> shape, DType type) {
  DECANT_CHECK(!file_, "tensors are declared before begin()");
  const quant::Format& format = quant::format(type);
  put_string(tensors_, name);
  put(tensors_, static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i-- > 0;) put(tensors_, static_cast<uint64_t>(shape[i]));
  put(tensors_, format.ggml_type);
  put(tensors_, data_end_);
  const int64_t rows = std::accumulate(shape.begin(), shape.end() - 1, int64_t{1}, std::multiplies<>());
  tensor_bytes_.push_back(static_cast<uint64_t>(rows) * quant::row_bytes(format, shape.back()));
  data_end_ = aligned(data_end_ + tensor_bytes_.back());
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
  constexpr std::byte kZeros[kAlignment] = {};
  return append(std::span(kZeros).first(static_cast<size_t>(aligned(position_) - position_)));
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
