// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "decant/result.h"

#include "engine/model/model_file.h"

namespace decant::model {

/// Types of GGUF metadata, with the numbers that stand in the file.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
inline constexpr uint32_t kGgufTypeCount = 13;

/// Bytes of a value; 0 for strings and arrays.
size_t gguf_type_bytes(GgufType type) noexcept;

/// An array of numbers as it stands in the file.
struct GgufArray {
  GgufType type = GgufType::u8;
  uint64_t count = 0;
  std::vector<std::byte> bytes;
};

/// Integers of every width are int64 (one beyond that is uint64), floats of both widths double.
using GgufValue = std::variant<int64_t, uint64_t, double, bool, std::string, GgufArray, std::vector<std::string>>;

/// The metadata of a GGUF file. A key that is missing is empty; one of the wrong type is an error that is kept until
/// status() is asked, so that many keys can be read in a row.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string path = {}) : path_(std::move(path)) {}

  std::optional<int64_t> integer(const std::string& key);
  std::optional<double> number(const std::string& key);
  std::optional<bool> boolean(const std::string& key);
  std::optional<std::string> text(const std::string& key);
  std::optional<std::vector<int64_t>> integers(const std::string& key);
  std::optional<std::vector<float>> floats(const std::string& key);
  /// Moves an array of strings out.
  std::optional<std::vector<std::string>> take_strings(const std::string& key);
  /// As integer(), but a missing key is an error.
  int64_t required_integer(const std::string& key);

  const GgufValue* find(const std::string& key) const;
  const std::map<std::string, GgufValue>& values() const noexcept { return values_; }
  /// False if the key is there already.
  bool insert(std::string key, GgufValue value) { return values_.emplace(std::move(key), std::move(value)).second; }

  void fail(Error error);
  const std::string& path() const noexcept { return path_; }
  const Status& status() const noexcept { return status_; }

 private:
  void wrong_type(const std::string& key, const char* wanted);

  std::string path_;
  std::map<std::string, GgufValue> values_;
  Status status_;
};

struct GgufModel {
  GgufMetadata metadata;  ///< of the first file
  std::shared_ptr<const TensorFiles> files;
};

/// Reads the headers of a GGUF file (version 2 or 3, little-endian), and of all files of a split one, whichever of them
/// `path` names. Every length is held against the bytes left in the file before memory is taken for it.
///
/// Errors: `io`; `bad_format` (not GGUF, truncated, tensors misaligned, overlapping or outside the file, a name twice,
/// files that aren't parts of one split); `unsupported` (another version, a tensor type decant lacks, by name).
Result<GgufModel> open_gguf(const std::string& path);

}  // namespace decant::model
