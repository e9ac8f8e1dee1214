// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weights.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>

#include <sys/mman.h>

#include "decant/detail/format.h"

#include "cache/checksum.h"
#include "engine/thread_pool.h"

namespace decant::model {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSliceBytes =
    size_t{1} << 20;  // what one pread takes: large enough for the disk, small enough for the cache

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// The source's row for our row r. See MatrixSource::interleaved.
int64_t source_row(int64_t r, int interleaved) {
  if (interleaved == 0) return r;
  const int64_t head = r / interleaved, i = r % interleaved, half = interleaved / 2;
  return head * interleaved + (i < half ? 2 * i : 2 * (i - half) + 1);
}

/// A matrix to be filled from its source.
struct MatrixTask {
  const MatrixSource* source;
  Matrix* matrix;
  int64_t rows_per_slice;
};

/// Tiles [first, last) of a task: what one thread packs at a time.
struct Slice {
  const MatrixTask* task;
  int first_tile, last_tile;
};

/// Everything the loading of one model shares between its threads.
class Loader {
 public:
  Loader(const ModelDescription& description, const ModelOptions& options)
      : description_(description), options_(options) {}

  Status run(Weights& weights, ThreadPool& pool);

 private:
  void plan(Weights& weights);
  void add(const MatrixSource& source, Matrix& matrix);
  Status load_vector(const VectorSource& source, Vector& out);
  Status load_vectors(Weights& weights);
  Status pack(const Slice& slice, std::vector<std::byte>& file_bytes, std::vector<float>& floats,
              std::vector<std::byte>& row_bytes) const;
  Status read_rows(const MatrixSource& source, int64_t first, int64_t n, std::vector<std::byte>& out) const;
  Status read_transposed(const MatrixSource& source, int64_t first, int64_t n, std::vector<std::byte>& out) const;

  const ModelDescription& description_;
  const ModelOptions& options_;
  std::vector<MatrixTask> tasks_;
  uint64_t vectors_checksum_ = 0;
};

void Loader::add(const MatrixSource& source, Matrix& matrix) {
  if (!source) return;
  const quant::Format& stored = quant::format(source.tensor->type);
  matrix.format = options_.numerics == Numerics::reference ? &quant::format(DType::f32) : &stored;
  matrix.rows = static_cast<int>(source.rows);
  matrix.cols = static_cast<int>(source.cols);
  matrix.n_tiles = static_cast<int>(quant::n_tiles(source.rows));
  matrix.tile_bytes = quant::tile_bytes(*matrix.format, source.cols);
  // A slice holds whole tiles and, where rows are interleaved, whole heads.
  const int64_t unit = std::lcm<int64_t>(quant::kTileRows, std::max(source.interleaved, 1));
  const auto bytes_per_row = static_cast<int64_t>(std::max<size_t>(quant::row_bytes(stored, source.cols), 1));
  const int64_t rows_per_slice = std::max<int64_t>(static_cast<int64_t>(kSliceBytes) / bytes_per_row / unit, 1) * unit;
  tasks_.push_back(
      {&source, &matrix, source.transposed ? static_cast<int64_t>(matrix.n_tiles) * quant::kTileRows : rows_per_slice});
}

void Loader::plan(Weights& weights) {
  const WeightSources& sources = description_.weights;
  weights.layers.resize(sources.layers.size());
  add(sources.token_embedding, weights.token_embedding);
  add(sources.position_embedding, weights.position_embedding);
  for (size_t i = 0; i < sources.layers.size(); ++i) {
    const LayerSources& from = sources.layers[i];
    LayerWeights& to = weights.layers[i];
    add(from.q, to.q);
    add(from.k, to.k);
    add(from.v, to.v);
    add(from.o, to.o);
    add(from.gate, to.gate);
    add(from.up, to.up);
    add(from.down, to.down);
  }
  add(sources.head, weights.head);
}

Status Loader::load_vector(const VectorSource& source, Vector& out) {
  if (!source) return {};
  const quant::Format& format = quant::format(source.tensor->type);
  std::vector<std::byte> bytes(quant::row_bytes(format, source.size));
  const uint64_t offset = quant::row_bytes(format, source.begin);
  if (Status read = description_.files->read(*source.tensor, offset, bytes); !read) return read;
  vectors_checksum_ = cache::checksum(bytes, vectors_checksum_);
  std::vector<float> values(static_cast<size_t>(source.size));
  format.decode_row(bytes.data(), static_cast<int>(source.size), values.data());
  // Filled up to whole tiles, so that a bias can be added to a whole tile's outputs.
  out = Vector(round_up(values.size(), quant::kTileRows));
  std::fill(out.data(), out.data() + out.size(), 0.0F);
  for (int64_t i = 0; i < source.size; ++i)
    out[static_cast<size_t>(i)] = values[static_cast<size_t>(source_row(i, source.interleaved))];
  return {};
}

Status Loader::load_vectors(Weights& weights) {
  const WeightSources& sources = description_.weights;
  const auto load = [&](std::initializer_list<std::pair<const VectorSource*, Vector*>> pairs) -> Status {
    for (const auto& [from, to] : pairs)
      if (Status loaded = load_vector(*from, *to); !loaded) return loaded;
    return {};
  };
  for (size_t i = 0; i < sources.layers.size(); ++i) {
    const LayerSources& from = sources.layers[i];
    LayerWeights& to = weights.layers[i];
    Status loaded = load({{&from.attn_norm, &to.attn_norm},
                          {&from.attn_norm_bias, &to.attn_norm_bias},
                          {&from.q_bias, &to.q_bias},
                          {&from.k_bias, &to.k_bias},
                          {&from.v_bias, &to.v_bias},
                          {&from.o_bias, &to.o_bias},
                          {&from.q_norm, &to.q_norm},
                          {&from.k_norm, &to.k_norm},
                          {&from.ffn_norm, &to.ffn_norm},
                          {&from.ffn_norm_bias, &to.ffn_norm_bias},
                          {&from.gate_bias, &to.gate_bias},
                          {&from.up_bias, &to.up_bias},
                          {&from.down_bias, &to.down_bias}});
    if (!loaded) return loaded;
  }
  return load({{&sources.out_norm, &weights.out_norm}, {&sources.out_norm_bias, &weights.out_norm_bias}});
}

Status Loader::read_rows(const MatrixSource& source, int64_t first, int64_t n, std::vector<std::byte>& out) const {
  const size_t bytes = quant::row_bytes(quant::format(source.tensor->type), source.cols);
  out.resize(static_cast<size_t>(n) * bytes);
  return description_.files->read(*source.tensor, static_cast<uint64_t>(source.row_begin + first) * bytes, out);
}

Status Loader::read_transposed(const MatrixSource& source, int64_t first, int64_t n,
                               std::vector<std::byte>& out) const {
  // The tensor is [cols, all rows] of plain floats: turn our rows out of it.
  const auto element = static_cast<size_t>(quant::format(source.tensor->type).block_bytes);
  const auto all_rows = static_cast<size_t>(source.tensor->shape.back());
  std::vector<std::byte> line(static_cast<size_t>(n) * element);
  const auto cols = static_cast<size_t>(source.cols);
  out.resize(static_cast<size_t>(n) * cols * element);
  for (size_t c = 0; c < cols; ++c) {
    const uint64_t offset = (c * all_rows + static_cast<size_t>(source.row_begin + first)) * element;
    if (Status read = description_.files->read(*source.tensor, offset, line); !read) return read;
    for (size_t r = 0; r < static_cast<size_t>(n); ++r)
      std::copy_n(line.data() + r * element, element, out.data() + (r * cols + c) * element);
  }
  return {};
}

Status Loader::pack(const Slice& slice, std::vector<std::byte>& file_bytes, std::vector<float>& floats,
                    std::vector<std::byte>& row_bytes) const {
  const MatrixSource& source = *slice.task->source;
  const Matrix& matrix = *slice.task->matrix;
  const int64_t first = static_cast<int64_t>(slice.first_tile) * quant::kTileRows;
  const int64_t n = std::min<int64_t>(static_cast<int64_t>(slice.last_tile) * quant::kTileRows, source.rows) - first;
  Status read =
      source.transposed ? read_transposed(source, first, n, file_bytes) : read_rows(source, first, n, file_bytes);
  if (!read) return read;

  const quant::Format& stored = quant::format(source.tensor->type);
  const size_t stored_bytes = quant::row_bytes(stored, source.cols);
  const size_t packed_row_bytes = quant::row_bytes(*matrix.format, source.cols);
  const bool dequantize = matrix.format != &stored;
  if (dequantize) row_bytes.resize(packed_row_bytes * quant::kTileRows);
  for (int tile = slice.first_tile; tile < slice.last_tile; ++tile) {
    const std::byte* rows[quant::kTileRows] = {};
    for (int r = 0; r < quant::kTileRows; ++r) {
      const int64_t row = static_cast<int64_t>(tile) * quant::kTileRows + r;
      if (row >= source.rows) continue;
      rows[r] = file_bytes.data() + static_cast<size_t>(source_row(row, source.interleaved) - first) * stored_bytes;
      if (!dequantize) continue;
      floats.resize(static_cast<size_t>(source.cols));
      stored.decode_row(rows[r], matrix.cols, floats.data());
      std::byte* const row_out = row_bytes.data() + static_cast<size_t>(r) * packed_row_bytes;
      std::copy_n(reinterpret_cast<const std::byte*>(floats.data()), packed_row_bytes, row_out);
      rows[r] = row_out;
    }
    matrix.format->pack_tile(rows, matrix.cols, matrix.tiles + static_cast<size_t>(tile) * matrix.tile_bytes);
  }
  return {};
}

Status Loader::run(Weights& weights, ThreadPool& pool) {
  plan(weights);
  if (Status loaded = load_vectors(weights); !loaded) return loaded;

  size_t total = 0;
  for (const MatrixTask& task : tasks_)
    total += round_up(task.matrix->tile_bytes * static_cast<size_t>(task.matrix->n_tiles), 64);
  Result<Arena> arena = Arena::create(total);
  if (!arena) return arena.error();
  weights.arena = std::move(*arena);
  weights.packed_bytes = total;

  std::vector<Slice> slices;
  size_t offset = 0, file_bytes_total = 0;
  for (const MatrixTask& task : tasks_) {
    task.matrix->tiles = weights.arena.data() + offset;
    offset += round_up(task.matrix->tile_bytes * static_cast<size_t>(task.matrix->n_tiles), 64);
    file_bytes_total += quant::row_bytes(quant::format(task.source->tensor->type), task.source->cols) *
                        static_cast<size_t>(task.source->rows);
    const int step = static_cast<int>(task.rows_per_slice / quant::kTileRows);
    for (int tile = 0; tile < task.matrix->n_tiles; tile += step)
      slices.push_back({&task, tile, std::min(tile + step, task.matrix->n_tiles)});
  }

  std::mutex mutex;
  Status outcome;
  std::atomic<bool> stop{false};
  std::atomic<size_t> bytes_done{0};
  struct Scratch {
    std::vector<std::byte> file_bytes, row_bytes;
    std::vector<float> floats;
  };
  std::vector<uint64_t> checksums(slices.size());  // taken while a slice is in the core's cache
  std::vector<Scratch> scratch(static_cast<size_t>(pool.n_threads()));
  pool.for_each(static_cast<int>(slices.size()), [&](int i, int thread) {
    if (stop.load(std::memory_order_relaxed)) return;
    Scratch& mine = scratch[static_cast<size_t>(thread)];
    Status packed;
    if (options_.stop.stop_requested()) {
      packed = Error{ErrorCode::cancelled, "loading was cancelled"};
    } else {
      try {
        packed = pack(slices[static_cast<size_t>(i)], mine.file_bytes, mine.floats, mine.row_bytes);
      } catch (const std::bad_alloc&) {
        packed = Error{ErrorCode::out_of_memory, "no memory for a slice of the weights"};
      }
    }
    checksums[static_cast<size_t>(i)] = cache::checksum(mine.file_bytes);
    if (!packed) {
      const std::lock_guard lock(mutex);
      if (outcome) outcome = std::move(packed);
      stop.store(true, std::memory_order_relaxed);
      return;
    }
    const size_t done = bytes_done.fetch_add(mine.file_bytes.size()) + mine.file_bytes.size();
    if (thread == 0 && options_.progress) options_.progress(std::min(done, file_bytes_total), file_bytes_total);
  });
  if (!outcome) return outcome;
  if (!weights.head) weights.head = weights.token_embedding;
  weights.fingerprint = cache::checksum(std::as_bytes(std::span(checksums)), vectors_checksum_);
  return {};
}

}  // namespace

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

Result<Arena> Arena::create(size_t size_bytes) {
  Arena arena;
  arena.size_bytes_ = round_up(std::max<size_t>(size_bytes, 1), kHugePage);
  void* const pages = mmap(nullptr, arena.size_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    return Error{ErrorCode::out_of_memory, detail::format("no memory for {} bytes of weights", arena.size_bytes_)};
  arena.data_ = static_cast<std::byte*>(pages);
  madvise(pages, arena.size_bytes_, MADV_HUGEPAGE);  // a wish; without huge pages everything still works
  return arena;
}

Result<Weights> load_weights(const ModelDescription& description, const ModelOptions& options, ThreadPool& pool) {
  Weights weights;
  Loader loader(description, options);
  if (Status loaded = loader.run(weights, pool); !loaded) return loaded.error();
  return weights;
}

}  // namespace decant::model
