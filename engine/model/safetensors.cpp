// SPDX-License-Identifier: Apache-2.0
#include "engine/model/safetensors.h"

#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "decant/detail/format.h"

#include "engine/model/json.h"
#include "engine/model/printable.h"

namespace decant::model {

namespace {

using UnreadableTensors = std::map<std::string, std::string, std::less<>>;

constexpr uint64_t kMaxHeader = 100'000'000;  // what the format itself allows
constexpr int64_t kMaxElements = int64_t{1} << 48;
constexpr size_t kMaxDims = 8;

std::optional<DType> readable_type(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

/// The product of a shape's extents into n_elements; false if it isn't a shape.
bool read_shape(const Json& shape, TensorInfo& tensor, int64_t& n_elements) {
  if (!shape.is_array() || shape.size() > kMaxDims) return false;
  n_elements = 1;
  for (const Json& extent : shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > static_cast<uint64_t>(kMaxElements)) return false;
    const auto value = static_cast<int64_t>(extent.get<uint64_t>());
    if (value != 0 && n_elements > kMaxElements / value) return false;
    n_elements *= value;
    tensor.shape.push_back(value);
  }
  return true;
}

/// One entry of a header into `tensors` or `unreadable`.
Status read_entry(const std::string& name, const Json& entry, uint64_t data_begin, const InputFile& file, int index,
                  std::vector<TensorInfo>& tensors, UnreadableTensors& unreadable) {
  const auto wrong = [&](const std::string& what) {
    return Error{ErrorCode::bad_format, detail::format("{}: tensor '{}' {}", file.path(), printable(name), what)};
  };
  if (!entry.is_object()) return wrong("is not described by an object");
  const auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) return wrong("has no dtype");
  TensorInfo tensor;
  tensor.name = name;
  tensor.file = index;
  int64_t n_elements = 0;
  if (shape == entry.end() || !read_shape(*shape, tensor, n_elements)) return wrong("has no proper shape");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned())
    return wrong("has no proper data_offsets");
  const auto begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > file.size_bytes() - data_begin)
    return wrong(detail::format("has bytes {} to {}, file has {} of data", begin, end, file.size_bytes() - data_begin));

  const auto& type_name = dtype->get_ref<const std::string&>();
  const std::optional<DType> type = readable_type(type_name);
  if (!type) {
    if (!unreadable.emplace(name, printable(type_name)).second) return wrong("is in two files");
    return {};
  }
  tensor.type = *type;
  tensor.offset = data_begin + begin;
  tensor.size_bytes = static_cast<uint64_t>(n_elements) * (*type == DType::f32 ? 4 : 2);
  if (tensor.size_bytes != end - begin)
    return wrong(detail::format("takes {} bytes, its shape wants {}", end - begin, tensor.size_bytes));
  if (n_elements > 0)
    tensors.push_back(std::move(tensor));
  else
    unreadable.emplace(name, type_name + " without elements");
  return {};
}

Status read_header(const InputFile& file, int index, std::vector<TensorInfo>& tensors, UnreadableTensors& unreadable) {
  uint64_t header_bytes = 0;
  if (file.size_bytes() < sizeof header_bytes)
    return Error{ErrorCode::bad_format, detail::format("{}: is not a safetensors file", file.path())};
  if (Status read = file.read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1))); !read) return read;
  if (header_bytes > file.size_bytes() - sizeof header_bytes || header_bytes > kMaxHeader)
    return Error{ErrorCode::bad_format, detail::format("{}: has a header of {} bytes, file has {}", file.path(),
                                                       header_bytes, file.size_bytes())};
  std::string text(static_cast<size_t>(header_bytes), '\0');
  if (Status read = file.read_at(sizeof header_bytes, std::as_writable_bytes(std::span(text))); !read) return read;
  Result<JsonDocument> header = parse_json_object(text, file.path());
  if (!header) return header.error();
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") continue;
    Status added = read_entry(name, entry, sizeof header_bytes + header_bytes, file, index, tensors, unreadable);
    if (!added) return added;
  }
  return {};
}

/// The names of the shards that an index lists, each once, in the order of the alphabet.
Result<std::map<std::string, int>> read_index(const std::string& path, const Json& weight_map) {
  std::map<std::string, int> shards;
  for (const auto& [tensor, shard] : weight_map.items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    // A plain name in this directory; an index comes from elsewhere and must not choose what file is opened.
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name == ".." ||
        !name.ends_with(".safetensors"))
      return Error{ErrorCode::bad_format, detail::format("{}: tensor '{}' is in '{}', which is not the name of a "
                                                         ".safetensors file in this directory",
                                                         path, printable(tensor), printable(name))};
    shards.emplace(name, 0);
  }
  int index = 0;
  for (auto& [name, number] : shards) number = index++;
  return shards;
}

Result<std::shared_ptr<const TensorFiles>> open_shards(const std::string& directory, const std::string& index_path) {
  Result<JsonDocument> index = read_json_object(index_path);
  if (!index) return index.error();
  const auto weight_map = index->find("weight_map");
  if (weight_map == index->end() || !weight_map->is_object() || weight_map->empty())
    return Error{ErrorCode::bad_format, detail::format("{}: has no weight_map", index_path)};
  Result<std::map<std::string, int>> shards = read_index(index_path, *weight_map);
  if (!shards) return shards.error();

  std::vector<InputFile> files;
  std::vector<TensorInfo> tensors;
  UnreadableTensors unreadable;
  for (const auto& [name, number] : *shards) {
    Result<InputFile> file = InputFile::open(directory + "/" + name);
    if (!file) return file.error();
    files.push_back(std::move(*file));
    if (Status read = read_header(files.back(), number, tensors, unreadable); !read) return read.error();
  }
  Result<std::shared_ptr<const TensorFiles>> all =
      TensorFiles::create(std::move(files), std::move(tensors), std::move(unreadable));
  if (!all) return all;
  for (const auto& [name, shard] : weight_map->items()) {
    if ((*all)->unreadable_type(name) != nullptr) continue;
    const TensorInfo* const tensor = (*all)->find(name);
    if (tensor == nullptr || shards->at(shard.get_ref<const std::string&>()) != tensor->file)
      return Error{ErrorCode::bad_format, detail::format("{}: tensor '{}' is not in '{}'", index_path, printable(name),
                                                         printable(shard.get_ref<const std::string&>()))};
  }
  return all;
}

bool exists(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

Result<std::shared_ptr<const TensorFiles>> open_safetensors(const std::string& directory) {
  const std::string single = directory + "/model.safetensors", index = single + ".index.json";
  if (!exists(single) && exists(index)) return open_shards(directory, index);
  if (!exists(single))
    return Error{ErrorCode::io,
                 detail::format("{}: has neither model.safetensors nor model.safetensors.index.json", directory)};
  std::vector<InputFile> files;
  std::vector<TensorInfo> tensors;
  UnreadableTensors unreadable;
  Result<InputFile> file = InputFile::open(single);
  if (!file) return file.error();
  files.push_back(std::move(*file));
  if (Status read = read_header(files[0], 0, tensors, unreadable); !read) return read.error();
  return TensorFiles::create(std::move(files), std::move(tensors), std::move(unreadable));
}

}  // namespace decant::model
