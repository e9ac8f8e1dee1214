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

namespace decant::model {

/// One tensor of a file, bounds already checked against the file's size.
struct TensorInfo {
  std::string name;
  DType type = DType::f32;
  std::vector<int64_t> shape;  ///< outermost first: a matrix is [rows, cols]; every extent ≥ 1
  int file = 0;                ///< which file of a split model
  uint64_t offset = 0;         ///< bytes from the file's start
  uint64_t size_bytes = 0;

  int64_t n_elements() const;
};

/// The files of a model, open for pread. Immutable after opening; read() is safe from many threads.
class TensorFiles {
 public:
  virtual ~TensorFiles() = default;
  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  const TensorInfo* find(std::string_view name) const noexcept;

  /// Bytes [offset, offset + out.size()) of a tensor. `io`, or `bad_format` if the file has become shorter.
  Status read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const;

 protected:
  struct File;                               // an owned descriptor with its path
  std::vector<std::shared_ptr<File>> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

}  // namespace decant::model
