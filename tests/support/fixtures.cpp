// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fixtures.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace decant::test {

std::string fixture(const std::string& relative) {
  if (const char* const elsewhere = std::getenv("DECANT_FIXTURES"); elsewhere != nullptr) {
    const std::string path = std::string(elsewhere) + "/" + relative;
    if (std::filesystem::exists(path)) return path;
  }
  return std::string(DECANT_FIXTURES_DIR) + "/" + relative;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(read_file(path)); }

int64_t Array::size() const {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return n;
}

namespace {

template <typename T>
std::vector<T> values(const Array& array, bool right_type) {
  if (!right_type) throw std::runtime_error("array is " + array.dtype);
  std::vector<T> out(static_cast<size_t>(array.size()));
  if (out.size() * sizeof(T) != array.bytes.size()) throw std::runtime_error("array size");
  std::memcpy(out.data(), array.bytes.data(), array.bytes.size());
  return out;
}

}  // namespace

std::vector<float> Array::f32() const { return values<float>(*this, dtype == "F32"); }
std::vector<double> Array::f64() const { return values<double>(*this, dtype == "F64"); }
std::vector<int32_t> Array::i32() const { return values<int32_t>(*this, dtype == "I32"); }
std::vector<uint16_t> Array::u16() const { return values<uint16_t>(*this, dtype == "F16" || dtype == "BF16"); }

std::map<std::string, Array> read_arrays(const std::string& path) {
  const std::string file = read_file(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  std::map<std::string, Array> arrays;
  const nlohmann::json header = nlohmann::json::parse(file.substr(8, header_bytes));  // items() doesn't keep it alive
  for (const auto& [name, info] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = info["data_offsets"][0], end = info["data_offsets"][1];
    const char* const data = file.data() + 8 + header_bytes;
    arrays[name] = Array{info["dtype"], info["shape"], std::vector<uint8_t>(data + begin, data + end)};
  }
  return arrays;
}

}  // namespace decant::test
