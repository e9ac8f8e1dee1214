// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/dtype.h"
#include "decant/result.h"

#include "engine/model/input_file.h"

namespace decant::model {

/// One tensor of a file, bounds already checked against the file's size.
struct TensorInfo {
  std::string name;
  DType type = DType::f32;
  std::vector<int64_t> shape;  ///< outermost first: a matrix is [rows, cols]; every extent ≥ 1
  int file = 0;                ///< which file of a split model
  uint64_t offset = 0;         ///< bytes from the file's start
  uint64_t size_bytes = 0;
  bool in_tiles = false;  ///< a matrix of a packed file: tiles of `type` (packed_format.h) instead of rows

  int64_t n_elements() const;
};

/// The files of a model, open for pread. Immutable after opening; read() is safe from many threads.
class TensorFiles {
 public:
  /// Checks every tensor against its file: inside it, no two overlapping, no two of one name. `bad_format` otherwise.
  /// unreadable: tensors whose type decant lacks, with the type's name; an error only for whoever needs one.
  static Result<std::shared_ptr<const TensorFiles>> create(std::vector<InputFile> files,
                                                           std::vector<TensorInfo> tensors,
                                                           std::map<std::string, std::string, std::less<>> unreadable);

  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  const TensorInfo* find(std::string_view name) const noexcept;
  /// The type of a tensor that is there but can't be read; null for every other name.
  const std::string* unreadable_type(std::string_view name) const noexcept;
  /// The file that holds a tensor, for messages.
  const std::string& path(const TensorInfo& tensor) const noexcept {
    return files_[static_cast<size_t>(tensor.file)].path();
  }

  /// The file that holds a tensor.
  const InputFile& file(const TensorInfo& tensor) const noexcept { return files_[static_cast<size_t>(tensor.file)]; }

  /// Bytes [offset, offset + out.size()) of a tensor. `io`, or `bad_format` if the file has become shorter.
  Status read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const;

 private:
  std::vector<InputFile> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, std::string, std::less<>> unreadable_;
};

}  // namespace decant::model
