// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "decant/dtype.h"

namespace decant::quant {

inline constexpr int kTileRows = 16;        ///< rows (outputs) of a tile: the lanes of a product
inline constexpr int kBlock = 32;           ///< activations are quantized in blocks of 32 for every weight type
inline constexpr int kMaxBlockBytes = 256;  ///< no format's block_bytes is greater

/// 32 consecutive elements of a quantized row as the product sees them: element i is scale[i / 16] · w[i] − min[i /
/// 16]. A format with one scale has it twice; one without mins has +0.
struct SubBlock {
  int8_t w[kBlock];
  float scale[2];
  float min[2];
};

/// Which float sequence of ARCHITECTURE.md, "Products", turns the integer dots of a SubBlock into its part of an
/// output.
enum class DotKind { none, scale, scale_min, two_scales, two_scales_mins };

/// Everything decant knows about a weight format. The rest of the engine asks this table and never a `switch`.
///
/// In a file a row is a run of blocks of `block_values` elements and `block_bytes` bytes. In memory 16 rows are a tile:
/// a run of blocks of 16 × block_values elements and tile_block_bytes bytes, in whatever order inside suits the product
/// kernels. Packing keeps every value; a tile of fewer than 16 rows is filled up with rows of zeros.
struct Format {
  DType type;
  const char* name;      ///< "Q4_0"
  uint32_t ggml_type;    ///< its number in GGUF files
  int block_values;      ///< elements along a row; 1 for floats
  int block_bytes;       ///< bytes of a block in a file
  int tile_block_bytes;  ///< bytes of a block of 16 rows in memory
  bool quantized;        ///< products take int8 activations under exact numerics

  /// Bytes of a row (n a multiple of block_values) → n floats, bit for bit as the format defines them.
  void (*decode_row)(const std::byte* row, int n, float* out);
  /// n floats → bytes of a row, rounded as the format's reference quantizer does. Null where decant doesn't write the
  /// format.
  void (*encode_row)(const float* in, int n, std::byte* row);
  /// 16 rows of n elements (null: a row of zeros) → a tile of n / block_values · tile_block_bytes bytes.
  void (*pack_tile)(const std::byte* const rows[kTileRows], int n, std::byte* tile);
  /// Row r of a tile → n floats; the same values as decode_row gave.
  void (*decode_tile_row)(const std::byte* tile, int r, int n, float* out);

  DotKind dot;  ///< none for floats
  /// Row r of one block of a tile → the block_bytes bytes that it was in the file.
  void (*gather_block)(const std::byte* tile_block, int r, std::byte* block);
  /// Elements [32·sub, 32·sub + 32) of a block of the file. Null for floats.
  void (*unpack)(const std::byte* block, int sub, SubBlock* out);
};

/// The format of a type. Every DType has one.
const Format& format(DType type) noexcept;
/// By GGUF's number; null for one decant doesn't know.
const Format* format_of_ggml(uint32_t ggml_type) noexcept;
/// Tensors of packed files hold tiles: their type's number is this one + DType, far from any of GGUF's own.
inline constexpr uint32_t kFirstTileType = 10000;
/// The format of such a number; null for any other.
const Format* format_of_tile_type(uint32_t number) noexcept;
/// Name of a type's tiles: "Q4_0_T16".
const char* tile_type_name(DType type) noexcept;
/// Name of a number, also of a type that decant doesn't read ("IQ2_XS"), or "unknown type": for messages.
const char* ggml_type_name(uint32_t ggml_type) noexcept;

inline size_t row_bytes(const Format& f, int64_t n) { return static_cast<size_t>(n / f.block_values) * f.block_bytes; }
inline size_t tile_bytes(const Format& f, int64_t n) {
  return static_cast<size_t>(n / f.block_values) * f.tile_block_bytes;
}
inline int64_t n_tiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

}  // namespace decant::quant
