// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/dtype.h"
#include "decant/result.h"

#include "cache/atomic_file.h"
#include "engine/model/gguf.h"

namespace decant::model {

/// Writes a GGUF file of version 3: metadata and tensors are declared, then begin(), then the tensors' bytes in the
/// order of their declaration, then finish(). Until finish() returns, what stands under the target's name is untouched
/// (cache::AtomicFile).
class GgufWriter {
 public:
  /// alignment: of tensors, a power of two; written down where it isn't GGUF's own 32.
  explicit GgufWriter(std::string path, uint64_t alignment = 32);

  void add_u32(std::string_view key, uint32_t value);
  void add_i32(std::string_view key, int32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_floats(std::string_view key, std::span<const float> values);
  /// Any value that a file had, integers and numbers in their widest types.
  void add_value(std::string_view key, const GgufValue& value);
  void add_i32s(std::string_view key, std::span<const int32_t> values);
  /// shape: outermost first; the innermost extent is a multiple of the type's block.
  void add_tensor(std::string_view name, std::span<const int64_t> shape, DType type);
  /// A matrix of a packed file.
  void add_tiles(std::string_view name, int64_t rows, int64_t cols, DType type);

  /// Bytes of all tensors declared so far.
  uint64_t data_bytes() const noexcept;

  /// `io` as AtomicFile::create(), or where the disk is full; the same for what follows.
  Status begin();
  /// Further bytes of the tensor that isn't complete yet.
  Status write(std::span<const std::byte> bytes);
  /// Puts the file in the target's place, durably. Every tensor must be complete.
  Status finish();

 private:
  void add_key(std::string_view key, uint32_t type);
  void declare(std::string_view name, std::span<const int64_t> shape, uint32_t type, uint64_t size_bytes);
  uint64_t aligned(uint64_t n) const noexcept { return (n + alignment_ - 1) / alignment_ * alignment_; }
  void add_array(std::string_view key, uint32_t element_type, size_t count);
  Status append(std::span<const std::byte> bytes);
  Status pad();
  Status flush();

  std::string path_;
  uint64_t alignment_;
  std::string pairs_, tensors_;  // the header's sections, encoded
  uint64_t n_pairs_ = 0;
  std::vector<uint64_t> tensor_bytes_;
  uint64_t data_end_ = 0;       // of the declared tensors, padded
  size_t current_ = 0;          // the tensor that write() fills
  uint64_t current_bytes_ = 0;  // how much of it is there
  uint64_t position_ = 0;       // in the file
  std::vector<std::byte> buffer_;
  std::optional<cache::AtomicFile> file_;  // from begin() on
};

}  // namespace decant::model
