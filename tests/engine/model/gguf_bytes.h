// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace decant::test {

/// The bytes of a GGUF file, put together without any check, so that wrong ones can be made.
class GgufBytes {
 public:
  template <typename T>
  static std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static std::string text(std::string_view value) {
    return raw(static_cast<uint64_t>(value.size())) + std::string(value);
  }

  /// A key of any type whose value's bytes are given.
  GgufBytes& pair(std::string_view key, uint32_t type, const std::string& value) {
    pairs_ += text(key) + raw(type) + value;
    ++n_pairs;
    return *this;
  }
  GgufBytes& u16(std::string_view key, uint16_t value) { return pair(key, 2, raw(value)); }
  GgufBytes& u32(std::string_view key, uint32_t value) { return pair(key, 4, raw(value)); }
  GgufBytes& i32(std::string_view key, int32_t value) { return pair(key, 5, raw(value)); }
  GgufBytes& f32(std::string_view key, float value) { return pair(key, 6, raw(value)); }
  GgufBytes& str(std::string_view key, std::string_view value) { return pair(key, 8, text(value)); }
  GgufBytes& array(std::string_view key, uint32_t element, uint64_t count, const std::string& values) {
    return pair(key, 9, raw(element) + raw(count) + values);
  }

  /// dims: innermost first, as the file has them. Placed behind the tensor before.
  GgufBytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, const std::string& data) {
    tensor_at(name, dims, type, data_.size());
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32, '\0');
    return *this;
  }
  GgufBytes& tensor_at(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    tensors_ += text(name) + raw(static_cast<uint32_t>(dims.size()));
    for (const uint64_t extent : dims) tensors_ += raw(extent);
    tensors_ += raw(type) + raw(offset);
    ++n_tensors;
    return *this;
  }

  std::string header() const { return "GGUF" + raw(version) + raw(n_tensors) + raw(n_pairs) + pairs_ + tensors_; }
  std::string bytes() const {
    std::string out = header();
    out.resize((out.size() + 31) / 32 * 32, '\0');
    return out + data_;
  }

  uint32_t version = 3;
  uint64_t n_tensors = 0, n_pairs = 0;

 private:
  std::string pairs_, tensors_, data_;
};

}  // namespace decant::test
