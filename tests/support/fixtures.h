// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace decant::test {

/// A file of the fixtures: $DECANT_FIXTURES/RELATIVE where that is set and has it, else tests/fixtures/RELATIVE.
std::string fixture(const std::string& relative);

/// A whole file. Fails the test if it can't be read.
std::string read_file(const std::string& path);
nlohmann::json read_json(const std::string& path);

/// An array of a safetensors file.
struct Array {
  std::string dtype;  ///< "F32", "F64", "I32", "U8", "F16", "BF16"
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;

  int64_t size() const;
  std::vector<float> f32() const;     ///< F32 only
  std::vector<double> f64() const;    ///< F64 only
  std::vector<int32_t> i32() const;   ///< I32 only
  std::vector<uint16_t> u16() const;  ///< F16 or BF16 bits
};

/// Every array of a safetensors file, by name. A reader for tests only: it trusts the file.
std::map<std::string, Array> read_arrays(const std::string& path);

}  // namespace decant::test
