// SPDX-License-Identifier: Apache-2.0
#include "engine/model/gguf.h"

#include <array>
#include <cstring>
#include <utility>

#include "decant/detail/format.h"

#include "engine/model/gguf_reader.h"
#include "engine/model/printable.h"

namespace decant::model {

namespace {

constexpr std::array<size_t, kGgufTypeCount> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

template <typename T>
T element(const GgufArray& array, size_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

bool integer_at(const GgufArray& array, size_t i, int64_t& out) {
  switch (array.type) {
    case GgufType::u8:
      out = element<uint8_t>(array, i);
      return true;
    case GgufType::i8:
      out = element<int8_t>(array, i);
      return true;
    case GgufType::u16:
      out = element<uint16_t>(array, i);
      return true;
    case GgufType::i16:
      out = element<int16_t>(array, i);
      return true;
    case GgufType::u32:
      out = element<uint32_t>(array, i);
      return true;
    case GgufType::i32:
      out = element<int32_t>(array, i);
      return true;
    case GgufType::i64:
      out = element<int64_t>(array, i);
      return true;
    case GgufType::u64:
      out = static_cast<int64_t>(element<uint64_t>(array, i));
      return out >= 0;
    default:
      return false;
  }
}

}  // namespace

size_t gguf_type_bytes(GgufType type) noexcept { return kTypeBytes[static_cast<size_t>(type)]; }

const GgufValue* GgufMetadata::find(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

std::optional<int64_t> GgufMetadata::integer(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  wrong_type(key, "an integer");
  return std::nullopt;
}

std::optional<double> GgufMetadata::number(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<int64_t>(value)) return static_cast<double>(*number);
  wrong_type(key, "a number");
  return std::nullopt;
}

std::optional<bool> GgufMetadata::boolean(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* boolean = std::get_if<bool>(value)) return *boolean;
  wrong_type(key, "a bool");
  return std::nullopt;
}

std::optional<std::string> GgufMetadata::text(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_type(key, "a string");
  return std::nullopt;
}

std::optional<std::vector<int64_t>> GgufMetadata::integers(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* const array = std::get_if<GgufArray>(value);
  std::vector<int64_t> out;
  for (uint64_t i = 0; array != nullptr && i < array->count; ++i) {
    int64_t number = 0;
    if (!integer_at(*array, static_cast<size_t>(i), number)) break;
    out.push_back(number);
  }
  if (array != nullptr && out.size() == array->count) return out;
  wrong_type(key, "an array of integers");
  return std::nullopt;
}

std::optional<std::vector<float>> GgufMetadata::floats(const std::string& key) {
  const GgufValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* const array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->type != GgufType::f32) {
    wrong_type(key, "an array of float32");
    return std::nullopt;
  }
  std::vector<float> out(static_cast<size_t>(array->count));
  if (!out.empty()) std::memcpy(out.data(), array->bytes.data(), array->bytes.size());
  return out;
}

std::optional<std::vector<std::string>> GgufMetadata::take_strings(const std::string& key) {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (auto* const strings = std::get_if<std::vector<std::string>>(&found->second)) return std::move(*strings);
  wrong_type(key, "an array of strings");
  return std::nullopt;
}

int64_t GgufMetadata::required_integer(const std::string& key) {
  const std::optional<int64_t> value = integer(key);
  if (!value) fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' is missing", path_, key)});
  return value.value_or(0);
}

void GgufMetadata::fail(Error error) {
  if (status_) status_ = std::move(error);
}

void GgufMetadata::wrong_type(const std::string& key, const char* wanted) {
  fail(Error{ErrorCode::bad_format, detail::format("{}: '{}' should be {}", path_, printable(key), wanted)});
}

namespace {

/// How a file stands within a split model.
struct SplitPart {
  int64_t index = 0;
  int64_t count = 1;
  std::optional<int64_t> n_tensors;  ///< of all files together
};

Result<SplitPart> split_part(GgufMetadata& metadata) {
  SplitPart part;
  part.index = metadata.integer("split.no").value_or(0);
  part.count = metadata.integer("split.count").value_or(1);
  part.n_tensors = metadata.integer("split.tensors.count");
  if (!metadata.status()) return metadata.status().error();
  if (part.count == 0) part.count = 1;
  if (part.count < 1 || part.count > 65535 || part.index < 0 || part.index >= part.count)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: says to be file {} of {}", metadata.path(), part.index, part.count)};
  return part;
}

/// "-00002-of-00003.gguf", what the name of a part ends with.
std::string split_suffix(int64_t index, int64_t count) {
  return detail::format("-{:05}-of-{:05}.gguf", index + 1, count);
}

}  // namespace

Result<GgufModel> open_gguf(const std::string& path) {
  std::vector<InputFile> files;
  Result<InputFile> opened = InputFile::open(path);
  if (!opened) return opened.error();
  files.push_back(std::move(*opened));
  Result<GgufHeader> header = read_gguf_header(files[0]);
  if (!header) return header.error();
  Result<SplitPart> part = split_part(header->metadata);
  if (!part) return part.error();

  const SplitPart named = *part;
  std::string stem;
  if (named.count > 1) {
    const std::string suffix = split_suffix(named.index, named.count);
    if (!path.ends_with(suffix))
      return Error{ErrorCode::bad_format, detail::format("{}: is file {} of {} of a split model; to find the others, "
                                                         "its name should end in '{}'",
                                                         path, named.index + 1, named.count, suffix)};
    stem = path.substr(0, path.size() - suffix.size());
  }

  GgufModel model;
  std::vector<TensorInfo> tensors;
  for (int64_t i = 0; i < named.count; ++i) {
    const std::string part_path = named.count > 1 ? stem + split_suffix(i, named.count) : path;
    if (i > 0 || named.index > 0) {  // else it's the one that is open
      Result<InputFile> file = InputFile::open(part_path);
      if (!file) return file.error();
      if (i == 0) files.clear();
      files.push_back(std::move(*file));
      header = read_gguf_header(files.back());
      if (!header) return header.error();
      part = split_part(header->metadata);
      if (!part) return part.error();
      if (part->index != i || part->count != named.count)
        return Error{ErrorCode::bad_format, detail::format("{}: says to be file {} of {}, wanted {} of {}", part_path,
                                                           part->index + 1, part->count, i + 1, named.count)};
    }
    for (TensorInfo& tensor : header->tensors) {
      tensor.file = static_cast<int>(i);
      tensors.push_back(std::move(tensor));
    }
    if (i == 0) model.metadata = std::move(header->metadata);
  }
  if (named.n_tensors && static_cast<size_t>(*named.n_tensors) != tensors.size())
    return Error{ErrorCode::bad_format, detail::format("{}: the {} files of the split have {} tensors, wanted {}", path,
                                                       named.count, tensors.size(), *named.n_tensors)};
  Result<std::shared_ptr<const TensorFiles>> all = TensorFiles::create(std::move(files), std::move(tensors), {});
  if (!all) return all.error();
  model.files = std::move(*all);
  return model;
}

}  // namespace decant::model
