// SPDX-License-Identifier: Apache-2.0
#include "engine/model/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "decant/detail/format.h"

#include "engine/model/packed_format.h"
#include "engine/model/printable.h"
#include "engine/quant/format.h"

static_assert(std::endian::native == std::endian::little, "GGUF files are read without swapping bytes");

namespace decant::model {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxName = 65535;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxElements = uint64_t{1} << 48;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
// Least bytes of a key with its value, of a tensor's entry, and of a string: what a count is held against.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;
constexpr uint64_t kMinStringBytes = 8;

/// Reads a file from front to back in pieces of 64 KiB. The first error stays; what is read after it is zero.
class Cursor {
 public:
  explicit Cursor(const InputFile& file) : file_(file), buffer_(64 * 1024) {}

  template <typename T>
  T scalar() {
    T value = {};
    bytes(&value, sizeof value);
    return value;
  }

  bool bytes(void* out, size_t n) {
    if (!status_) return false;
    if (n > remaining())
      return fail(detail::format("ends in the middle of its header, at byte {}", file_.size_bytes()));
    auto* to = static_cast<std::byte*>(out);
    while (n > 0) {
      if (at_ == filled_ && !fill()) return false;
      const size_t piece = std::min(n, filled_ - at_);
      std::memcpy(to, buffer_.data() + at_, piece);
      at_ += piece, to += piece, n -= piece;
    }
    return true;
  }

  std::string string(uint64_t max_bytes = std::numeric_limits<uint64_t>::max()) {
    const auto length = scalar<uint64_t>();
    if (!status_) return {};
    if (length > remaining() || length > max_bytes) {
      fail(detail::format("a string of {} bytes at {}, {} bytes are left", length, position(), remaining()));
      return {};
    }
    std::string text(static_cast<size_t>(length), '\0');
    bytes(text.data(), text.size());
    return text;
  }

  /// Whether `count` things of at least `least_bytes` each can still come.
  bool can_hold(uint64_t count, uint64_t least_bytes, const char* what) {
    if (!status_) return false;
    if (count <= remaining() / least_bytes) return true;
    return fail(detail::format("{} {} at byte {}, {} bytes are left", count, what, position(), remaining()));
  }

  bool fail(const std::string& message, ErrorCode code = ErrorCode::bad_format) {
    if (status_) status_ = Error{code, detail::format("{}: {}", file_.path(), message)};
    return false;
  }

  uint64_t position() const { return read_ - (filled_ - at_); }
  uint64_t remaining() const { return file_.size_bytes() - position(); }
  const Status& status() const { return status_; }

 private:
  bool fill() {
    const auto n = static_cast<size_t>(std::min<uint64_t>(buffer_.size(), file_.size_bytes() - read_));
    at_ = filled_ = 0;
    status_ = file_.read_at(read_, std::span(buffer_).first(n));
    if (!status_) return false;
    read_ += n, filled_ = n;
    return true;
  }

  const InputFile& file_;
  std::vector<std::byte> buffer_;
  size_t at_ = 0, filled_ = 0;  // within the buffer
  uint64_t read_ = 0;           // bytes of the file that have been in the buffer
  Status status_;
};

GgufValue read_array(Cursor& in, const std::string& key) {
  const auto type = in.scalar<uint32_t>();
  const auto count = in.scalar<uint64_t>();
  const auto element = static_cast<GgufType>(type);
  if (in.status() && (type >= kGgufTypeCount || element == GgufType::array))
    in.fail(
        detail::format("'{}' is an array of {}", printable(key), type >= kGgufTypeCount ? "no known type" : "arrays"));
  if (element == GgufType::string) {
    std::vector<std::string> strings;
    if (!in.can_hold(count, kMinStringBytes, "strings")) return strings;
    for (uint64_t i = 0; i < count && in.status(); ++i) strings.push_back(in.string());
    return strings;
  }
  GgufArray array{element, count, {}};
  if (!in.status() || !in.can_hold(count, gguf_type_bytes(element), "array elements")) return array;
  array.bytes.resize(static_cast<size_t>(count) * gguf_type_bytes(element));
  in.bytes(array.bytes.data(), array.bytes.size());
  return array;
}

GgufValue read_value(Cursor& in, const std::string& key) {
  const auto type = in.scalar<uint32_t>();
  switch (static_cast<GgufType>(type)) {
    case GgufType::u8:
      return int64_t{in.scalar<uint8_t>()};
    case GgufType::i8:
      return int64_t{in.scalar<int8_t>()};
    case GgufType::u16:
      return int64_t{in.scalar<uint16_t>()};
    case GgufType::i16:
      return int64_t{in.scalar<int16_t>()};
    case GgufType::u32:
      return int64_t{in.scalar<uint32_t>()};
    case GgufType::i32:
      return int64_t{in.scalar<int32_t>()};
    case GgufType::i64:
      return in.scalar<int64_t>();
    case GgufType::f32:
      return double{in.scalar<float>()};
    case GgufType::f64:
      return in.scalar<double>();
    case GgufType::string:
      return in.string();
    case GgufType::array:
      return read_array(in, key);
    case GgufType::u64: {
      const auto value = in.scalar<uint64_t>();
      if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<int64_t>(value);
      return value;
    }
    case GgufType::boolean: {
      const auto value = in.scalar<uint8_t>();
      if (value > 1) in.fail(detail::format("'{}' is a bool of value {}", printable(key), value));
      return value == 1;
    }
  }
  in.fail(detail::format("'{}' is of type {}, which GGUF doesn't have", printable(key), type));
  return false;
}

/// Takes a tensor for a matrix in tiles, as packed files have them.
void set_tiles(Cursor& in, const quant::Format& format, TensorInfo& tensor) {
  const int64_t cols = tensor.shape[0], rows = tensor.shape.size() == 2 ? tensor.shape[1] : 0;
  if (rows == 0 || cols % format.block_values != 0) {
    in.fail(detail::format("tensor '{}' of {} dimensions and {} columns can't be of type {}", printable(tensor.name),
                           tensor.shape.size(), cols, quant::tile_type_name(format.type)));
    return;
  }
  tensor.type = format.type;
  tensor.in_tiles = true;
  // At most 2^48 elements, each with 15 more in the last tile, of at most 4 bytes and some: no overflow.
  tensor.size_bytes = static_cast<uint64_t>(quant::n_tiles(rows)) * quant::tile_bytes(format, cols);
  std::swap(tensor.shape[0], tensor.shape[1]);
}

/// A tensor's entry; its offset is still relative to the data section.
TensorInfo read_tensor(Cursor& in, bool is_packed) {
  TensorInfo tensor;
  tensor.name = in.string(kMaxName);
  const auto n_dims = in.scalar<uint32_t>();
  if (in.status() && (n_dims == 0 || n_dims > kMaxDims))
    in.fail(detail::format("tensor '{}' has {} dimensions", printable(tensor.name), n_dims));
  uint64_t n_elements = 1;
  for (uint32_t i = 0; i < n_dims && in.status(); ++i) {
    const auto extent = in.scalar<uint64_t>();
    if (in.status() && (extent == 0 || extent > kMaxElements / n_elements)) {
      in.fail(detail::format("tensor '{}' has an extent of {}", printable(tensor.name), extent));
      break;
    }
    n_elements *= extent;
    tensor.shape.push_back(static_cast<int64_t>(extent));
  }
  const auto type = in.scalar<uint32_t>();
  tensor.offset = in.scalar<uint64_t>();
  if (!in.status()) return tensor;

  if (const quant::Format* const tiles = is_packed ? quant::format_of_tile_type(type) : nullptr) {
    set_tiles(in, *tiles, tensor);
    return tensor;
  }
  const quant::Format* const format = quant::format_of_ggml(type);
  if (format == nullptr) {
    in.fail(detail::format("tensor '{}' is of type {}, which decant doesn't read", printable(tensor.name),
                           quant::ggml_type_name(type)),
            ErrorCode::unsupported);
    return tensor;
  }
  tensor.type = format->type;
  if (tensor.shape[0] % format->block_values != 0) {
    in.fail(detail::format("tensor '{}' has rows of {} elements, {} needs a multiple of {}", printable(tensor.name),
                           tensor.shape[0], format->name, format->block_values));
    return tensor;
  }
  // At most 2^48 elements of at most 34 bytes: no overflow.
  tensor.size_bytes =
      n_elements / static_cast<uint64_t>(format->block_values) * static_cast<uint64_t>(format->block_bytes);
  std::reverse(tensor.shape.begin(), tensor.shape.end());
  return tensor;
}

void check_version(Cursor& in) {
  const auto magic = in.scalar<uint32_t>();
  const auto version = in.scalar<uint32_t>();
  if (!in.status() || magic != kMagic) {
    in.fail("is not a GGUF file");
  } else if (version == 0x02000000 || version == 0x03000000) {
    in.fail("is a big-endian GGUF file", ErrorCode::unsupported);
  } else if (version != 2 && version != 3) {
    in.fail(detail::format("is GGUF version {}, decant reads 2 and 3", version), ErrorCode::unsupported);
  }
}

}  // namespace

Result<GgufHeader> read_gguf_header(const InputFile& file) {
  if (file.size_bytes() < 8) return Error{ErrorCode::bad_format, detail::format("{}: is not a GGUF file", file.path())};
  Cursor in(file);
  check_version(in);
  const auto n_tensors = in.scalar<uint64_t>();
  const auto n_pairs = in.scalar<uint64_t>();
  in.can_hold(n_tensors, kMinTensorBytes, "tensors");
  in.can_hold(n_pairs, kMinPairBytes, "metadata keys");

  GgufHeader header{GgufMetadata(file.path()), {}};
  for (uint64_t i = 0; i < n_pairs && in.status(); ++i) {
    std::string key = in.string(kMaxName);
    GgufValue value = read_value(in, key);
    const std::string name = printable(key);
    if (in.status() && !header.metadata.insert(std::move(key), std::move(value)))
      in.fail(detail::format("metadata key '{}' is there twice", name));
  }
  const std::optional<int64_t> packed = header.metadata.integer(kPackedVersionKey);
  if (packed && *packed != kPackedVersion)
    in.fail(
        detail::format("is packed in layout {}, this decant reads {}; pack the model again", *packed, kPackedVersion),
        ErrorCode::unsupported);
  for (uint64_t i = 0; i < n_tensors && in.status(); ++i) header.tensors.push_back(read_tensor(in, packed.has_value()));
  if (!in.status()) return in.status().error();

  const auto alignment = static_cast<uint64_t>(
      header.metadata.integer("general.alignment").value_or(static_cast<int64_t>(kDefaultAlignment)));
  if (!header.metadata.status()) return header.metadata.status().error();
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment)
    return Error{ErrorCode::bad_format, detail::format("{}: general.alignment is {}", file.path(), alignment)};
  const uint64_t data_begin = (in.position() + alignment - 1) / alignment * alignment;
  for (TensorInfo& tensor : header.tensors) {
    if (tensor.offset % alignment != 0)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tensor '{}' is at {}, which is no multiple of {}", file.path(),
                                  printable(tensor.name), tensor.offset, alignment)};
    if (tensor.offset > file.size_bytes())
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tensor '{}' is at {} of the data, file has {} bytes", file.path(),
                                  printable(tensor.name), tensor.offset, file.size_bytes())};
    tensor.offset += data_begin;
    if (tensor.in_tiles && tensor.offset % kTileAlignment != 0)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tiles of '{}' are at byte {}, which is no multiple of {}", file.path(),
                                  printable(tensor.name), tensor.offset, kTileAlignment)};
  }
  return header;
}

}  // namespace decant::model
