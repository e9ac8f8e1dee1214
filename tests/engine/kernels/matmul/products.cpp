// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/kernels/matmul/products.h"

#include <cmath>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "decant/detail/half.h"

namespace decant::test {

GuardedBytes::GuardedBytes(size_t size) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t readable = (size + page - 1) / page * page;
  mapped_ = readable + page;
  void* const p = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(p != MAP_FAILED);
  pages_ = static_cast<std::byte*>(p);
  REQUIRE(mprotect(pages_ + readable, page, PROT_NONE) == 0);
  data_ = pages_ + readable - size;
}

GuardedBytes::GuardedBytes(GuardedBytes&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)), mapped_(other.mapped_), data_(other.data_) {}

GuardedBytes& GuardedBytes::operator=(GuardedBytes&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  return *this;
}

GuardedBytes::~GuardedBytes() {
  if (pages_ != nullptr) munmap(pages_, mapped_);
}

namespace {

/// Where a format's blocks hold binary16 numbers.
std::vector<int> half_offsets(DType type) {
  switch (type) {
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
      return {0, 2};
    case DType::q2_k:
      return {80, 82};
    case DType::q3_k:
      return {108};
    case DType::q6_k:
      return {208};
    default:
      return {0};
  }
}

/// Scales beside ordinary ones: zero, the least subnormal, a subnormal, negative, the greatest.
constexpr uint16_t kExtremeHalves[] = {0x0000, 0x0001, 0x03FF, 0x8001, 0xBC00, 0x7BFF, 0x3C00, 0x8000};

void store_f16(std::byte* p, float value) {
  const uint16_t half = detail::f32_to_f16(value);
  std::memcpy(p, &half, sizeof half);
}

}  // namespace

void fill_row(const quant::Format& f, int cols, Fill fill, std::mt19937& rng, std::byte* row) {
  std::normal_distribution<float> normal;
  if (!f.quantized) {
    std::vector<float> values(cols);
    for (float& v : values) {
      v = normal(rng);
      if (fill == Fill::extreme) v = std::ldexp(v, static_cast<int>(rng() % 30) - 20);  // binary16's subnormals too
    }
    f.encode_row(values.data(), cols, row);
    return;
  }
  const size_t size = quant::row_bytes(f, cols);
  for (size_t i = 0; i < size; ++i) {
    // 0x80: −128 in Q8_0; 0x00 and 0xFF: the least and the greatest of all others.
    constexpr uint8_t kExtremes[] = {0x80, 0x7F, 0x00, 0xFF};
    const uint8_t choice = fill == Fill::extreme ? kExtremes[rng() % 4] : static_cast<uint8_t>(rng());
    row[i] = static_cast<std::byte>(choice);
  }
  for (std::byte* block = row; block < row + size; block += f.block_bytes) {
    // Now and then a block of one value all over, which is where sums of products are greatest.
    if (fill == Fill::extreme && rng() % 2 == 0)
      std::memset(block, static_cast<int>(rng() % 2 == 0 ? 0x80 : 0xFF), f.block_bytes);
    for (const int offset : half_offsets(f.type)) {
      const uint16_t extreme = kExtremeHalves[rng() % std::size(kExtremeHalves)];
      store_f16(block + offset, 0.01F * normal(rng));
      if (fill == Fill::extreme) std::memcpy(block + offset, &extreme, sizeof extreme);
    }
  }
}

Product::Product(const quant::Format& f, int n_tiles, int cols, int n_tokens, Fill fill, uint32_t seed)
    : format(&f),
      rows(quant::row_bytes(f, cols) * n_tiles * quant::kTileRows),
      tiles(quant::tile_bytes(f, cols) * n_tiles),
      x(sizeof(float) * cols * n_tokens),
      q(static_cast<size_t>(cols) * n_tokens),
      d(sizeof(float) * (cols / 32) * n_tokens),
      sums(sizeof(int16_t) * (cols / 16) * n_tokens),
      row_bytes(quant::row_bytes(f, cols)) {
  std::mt19937 rng(seed);
  for (int tile = 0; tile < n_tiles; ++tile) {
    const std::byte* tile_rows[quant::kTileRows];
    for (int r = 0; r < quant::kTileRows; ++r) {
      std::byte* const row = rows.data() + static_cast<size_t>(tile * quant::kTileRows + r) * row_bytes;
      fill_row(f, cols, fill, rng, row);
      tile_rows[r] = row;
    }
    f.pack_tile(tile_rows, cols, tiles.data() + quant::tile_bytes(f, cols) * tile);
  }
  std::normal_distribution<float> normal;
  for (int i = 0; i < cols * n_tokens; ++i) {
    x.as<float>()[i] = normal(rng);
    if (fill == Fill::extreme && f.quantized) x.as<float>()[i] = rng() % 2 == 0 ? -3.0F : 3.0F;  // all become ±127
  }
  if (fill == Fill::extreme && f.quantized) {
    for (int i = 0; i < cols; ++i) x.as<float>()[i] = 3.0F;  // the first token: +127 all over
  }
  args.tiles = tiles.data();
  args.tile_bytes = quant::tile_bytes(f, cols);
  args.n_tiles = n_tiles;
  args.cols = cols;
  args.n_tokens = n_tokens;
  args.x = x.as<float>();
  args.x_stride = cols;
  if (!f.quantized) return;
  for (int t = 0; t < n_tokens; ++t) {
    REQUIRE(kernels::quantize_row_kernel(Isa::reference)(args.x + static_cast<ptrdiff_t>(t) * cols, cols,
                                                         q.as<int8_t>() + static_cast<ptrdiff_t>(t) * cols,
                                                         d.as<float>() + static_cast<ptrdiff_t>(t) * (cols / 32),
                                                         sums.as<int16_t>() + static_cast<ptrdiff_t>(t) * (cols / 16)));
  }
  args.q = q.as<int8_t>();
  args.q_stride = cols;
  args.d = d.as<float>();
  args.d_stride = cols / 32;
  args.sums = sums.as<int16_t>();
  args.sums_stride = cols / 16;
}

std::vector<float> Product::run(kernels::MatmulFn fn, int offset) const {
  const int n_rows = args.n_tiles * quant::kTileRows;
  kernels::MatmulArgs a = args;
  a.y_stride = n_rows + 5;
  std::vector<float> y(static_cast<size_t>(a.y_stride) * a.n_tokens + offset, -7.0F);
  a.y = y.data() + offset;
  fn(a);
  std::vector<float> packed;
  for (int t = 0; t < a.n_tokens; ++t) {
    const float* const row = a.y + t * a.y_stride;
    packed.insert(packed.end(), row, row + n_rows);
    for (int i = n_rows; i < a.y_stride; ++i) CHECK_MESSAGE(row[i] == -7.0F, "nothing is written between rows");
  }
  return packed;
}

std::vector<float> Product::row(int r) const {
  std::vector<float> values(args.cols);
  format->decode_row(rows.data() + static_cast<size_t>(r) * row_bytes, args.cols, values.data());
  return values;
}

}  // namespace decant::test
