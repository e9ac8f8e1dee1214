// SPDX-License-Identifier: Apache-2.0
#include "engine/quant/format.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <doctest/doctest.h>

#include "decant/detail/half.h"

#include "tests/support/fixtures.h"

namespace decant::quant {
namespace {

const std::byte* bytes_of(const test::Array& array) { return reinterpret_cast<const std::byte*>(array.bytes.data()); }

bool same_bits(const float* a, const float* b, size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

struct Rows {
  const Format* format;
  std::string key;
  int n_rows, n;
  const test::Array *raw, *values;
};

struct Fixture {
  std::map<std::string, test::Array> arrays = test::read_arrays(test::fixture("quants/quant_rows.safetensors"));
  std::vector<Rows> known;  ///< those in formats that decant reads

  Fixture() {
    for (const auto& entry : test::read_json(test::fixture("quants/quant_rows.json"))) {
      const Format* const f = format_of_ggml(entry["ggml_type_id"].get<uint32_t>());
      if (f == nullptr) continue;
      const std::string key = entry["key"];
      known.push_back(
          {f, key, entry["rows"], entry["row_values"], &arrays.at(key + ".raw"), &arrays.at(key + ".values")});
    }
  }
};

TEST_CASE("format: the table lists every DType at its place with GGUF's number and name") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    const Format& f = format(type);
    CAPTURE(f.name);
    CHECK(f.type == type);
    CHECK(std::string(f.name) == to_string(type));
    CHECK(format_of_ggml(f.ggml_type) == &f);
    CHECK(std::string(ggml_type_name(f.ggml_type)) == f.name);
    CHECK(f.tile_block_bytes >= kTileRows * f.block_bytes);
    CHECK(f.tile_block_bytes <= 1.02 * kTileRows * f.block_bytes);
    CHECK(f.quantized == (f.block_values > 1));
  }
  CHECK(format_of_ggml(17) == nullptr);
  CHECK(std::string(ggml_type_name(17)) == "IQ2_XS");
  CHECK(std::string(ggml_type_name(1000)) == "unknown type");
}

TEST_CASE("format: decoded rows have the bits of the reference") {
  const Fixture fixture;
  CHECK(fixture.known.size() >= 19);
  for (const Rows& rows : fixture.known) {
    CAPTURE(rows.key);
    const std::vector<float> expected = rows.values->f32();
    const size_t stride = row_bytes(*rows.format, rows.n);
    REQUIRE(rows.raw->bytes.size() == stride * rows.n_rows);
    std::vector<float> decoded(rows.n);
    for (int r = 0; r < rows.n_rows; ++r) {
      CAPTURE(r);
      rows.format->decode_row(bytes_of(*rows.raw) + r * stride, rows.n, decoded.data());
      CHECK(same_bits(decoded.data(), expected.data() + static_cast<size_t>(r) * rows.n, decoded.size()));
    }
  }
}

TEST_CASE("format: encoded rows have the bytes of the reference quantizer") {
  const Fixture fixture;
  const std::vector<float> source = fixture.arrays.at("source").f32();
  int n_compared = 0;
  for (const Rows& rows : fixture.known) {
    if (rows.format->encode_row == nullptr || rows.n_rows * static_cast<size_t>(rows.n) != source.size()) continue;
    CAPTURE(rows.key);
    const size_t stride = row_bytes(*rows.format, rows.n);
    std::vector<std::byte> row(stride);
    for (int r = 0; r < rows.n_rows; ++r) {
      CAPTURE(r);
      rows.format->encode_row(source.data() + static_cast<size_t>(r) * rows.n, rows.n, row.data());
      CHECK(std::memcmp(row.data(), bytes_of(*rows.raw) + r * stride, stride) == 0);
    }
    ++n_compared;
  }
  CHECK(n_compared == 7);
}

TEST_CASE("format: non-finite values encode to defined bytes") {
  std::vector<float> in(32, 1.0F);
  in[3] = std::numeric_limits<float>::quiet_NaN();
  in[7] = std::numeric_limits<float>::infinity();
  in[9] = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < kDTypeCount; ++i) {
    const Format& f = format(static_cast<DType>(i));
    if (f.encode_row == nullptr) continue;
    std::vector<std::byte> first(row_bytes(f, 32)), second(row_bytes(f, 32));
    f.encode_row(in.data(), 32, first.data());
    f.encode_row(in.data(), 32, second.data());
    CHECK(first == second);
  }
}

TEST_CASE("format: rows survive packing into tiles, and missing rows are zeros") {
  const Fixture fixture;
  for (const Rows& rows : fixture.known) {
    CAPTURE(rows.key);
    const Format& f = *rows.format;
    const size_t stride = row_bytes(f, rows.n);
    const std::byte* tile_rows[kTileRows] = {};
    for (int r = 0; r < kTileRows; ++r) {
      if (r != 5 && r != 15) tile_rows[r] = bytes_of(*rows.raw) + (r % rows.n_rows) * stride;
    }
    std::vector<std::byte> tile(tile_bytes(f, rows.n));
    f.pack_tile(tile_rows, rows.n, tile.data());
    const std::vector<float> expected = rows.values->f32();
    const std::vector<float> zeros(rows.n, 0.0F);
    std::vector<float> decoded(rows.n);
    std::vector<std::byte> block(f.block_bytes);
    for (int r = 0; r < kTileRows; ++r) {
      CAPTURE(r);
      f.decode_tile_row(tile.data(), r, rows.n, decoded.data());
      if (tile_rows[r] == nullptr) {
        for (const float value : decoded) CHECK_MESSAGE(value == 0.0F, "a row of zeros");
        continue;
      }
      CHECK(same_bits(decoded.data(), expected.data() + static_cast<size_t>(r % rows.n_rows) * rows.n, decoded.size()));
      f.gather_block(tile.data() + f.tile_block_bytes, r, block.data());
      CHECK(std::memcmp(block.data(), tile_rows[r] + f.block_bytes, block.size()) == 0);
    }
  }
}

TEST_CASE("half: every binary16 widens to its value and narrows back") {
  for (uint32_t h = 0; h < 0x10000U; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float wide = detail::f16_to_f32(half);
    const int exponent = static_cast<int>(h >> 10 & 31U);
    const auto mantissa = static_cast<double>(h & 1023U);
    const double sign = (h & 0x8000U) != 0 ? -1.0 : 1.0;
    if (exponent == 31) {
      REQUIRE((mantissa == 0 ? std::isinf(wide) : std::isnan(wide)));
    } else {
      const double value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
      REQUIRE(wide == sign * value);
    }
    REQUIRE(std::signbit(wide) == (sign < 0));
    if (!std::isnan(wide)) REQUIRE(detail::f32_to_f16(wide) == half);
  }
}

TEST_CASE("half: binary32 narrows to the nearest binary16, ties to even") {
  CHECK(detail::f32_to_f16(65519.996F) == 0x7BFF);
  CHECK(detail::f32_to_f16(65520.0F) == 0x7C00);
  CHECK(detail::f32_to_f16(-1e30F) == 0xFC00);
  CHECK(detail::f32_to_f16(std::ldexp(1.0F, -25)) == 0);  // half of the least subnormal: to even
  CHECK(detail::f32_to_f16(std::ldexp(1.5F, -24)) == 2);  // ties between 1 and 2: to even
  CHECK(detail::f32_to_f16(std::ldexp(1.0001F, -25)) == 1);
  CHECK(std::isnan(detail::f16_to_f32(detail::f32_to_f16(std::numeric_limits<float>::quiet_NaN()))));
  std::mt19937 rng(1);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (!(std::fabs(value) < 65504.0F)) continue;
    const float rounded = detail::f16_to_f32(detail::f32_to_f16(value));
    const float towards_zero =
        detail::f16_to_f32(static_cast<uint16_t>(detail::f32_to_f16(rounded) - (rounded != 0.0F)));
    const float away = detail::f16_to_f32(static_cast<uint16_t>(detail::f32_to_f16(rounded) + 1));
    const double error = std::fabs(static_cast<double>(value) - static_cast<double>(rounded));
    REQUIRE(error <= std::fabs(static_cast<double>(value) - static_cast<double>(towards_zero)));
    REQUIRE(error <= std::fabs(static_cast<double>(value) - static_cast<double>(away)));
  }
}

TEST_CASE("half: bfloat16 narrows to nearest, ties to even, and keeps NaNs") {
  CHECK(detail::f32_to_bf16(std::bit_cast<float>(0x3F808000U)) == 0x3F80);
  CHECK(detail::f32_to_bf16(std::bit_cast<float>(0x3F818000U)) == 0x3F82);
  CHECK(detail::f32_to_bf16(std::bit_cast<float>(0x3F808001U)) == 0x3F81);
  CHECK(detail::f32_to_bf16(std::bit_cast<float>(0x7F7FFFFFU)) == 0x7F80);
  CHECK(detail::f32_to_bf16(std::bit_cast<float>(0x7F800001U)) == 0x7FC0);
  CHECK(detail::bf16_to_f32(0xC040) == -3.0F);
}

}  // namespace
}  // namespace decant::quant
