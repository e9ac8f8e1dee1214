// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weights.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>

#include "decant/detail/format.h"

#include "cache/checksum.h"
#include "engine/model/packed_format.h"
#include "engine/model/weight_slots.h"
#include "engine/thread_pool.h"

namespace decant::model {

namespace {

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
  Loader(const ModelDescription& description, const ModelOptions& options, const std::function<void()>& beside)
      : description_(description), options_(options), beside_(beside) {}

  Status run(Weights& weights, ThreadPool& pool);

 private:
  void plan(Weights& weights);
  void add(const MatrixSource& source, Matrix& matrix);
  Status load_vector(const VectorSource& source, Vector& out);
  Status load_vectors(Weights& weights);
  Status check_packed() const;
  Status place(Weights& weights);
  Status read_tiles(const Slice& slice) const;
  Status pack(const Slice& slice, std::vector<std::byte>& file_bytes, std::vector<float>& floats,
              std::vector<std::byte>& row_bytes) const;
  Status read_rows(const MatrixSource& source, int64_t first, int64_t n, std::vector<std::byte>& out) const;
  Status read_transposed(const MatrixSource& source, int64_t first, int64_t n, std::vector<std::byte>& out) const;

  const ModelDescription& description_;
  const ModelOptions& options_;
  const std::function<void()>& beside_;
  std::vector<MatrixTask> tasks_;
  uint64_t vectors_checksum_ = 0;
  const Arena* mapped_ = nullptr;  // the weights' arena where that is the file
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
  for (size_t i = 0; i < sources.layers.size(); ++i)
    for (const MatrixSlot& slot : kLayerMatrices) add(sources.layers[i].*slot.source, weights.layers[i].*slot.matrix);
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
  for (size_t i = 0; i < sources.layers.size(); ++i)
    for (const VectorSlot& slot : kLayerVectors)
      if (Status loaded = load_vector(sources.layers[i].*slot.source, weights.layers[i].*slot.vector); !loaded)
        return loaded;
  if (Status loaded = load_vector(sources.out_norm, weights.out_norm); !loaded) return loaded;
  return load_vector(sources.out_norm_bias, weights.out_norm_bias);
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

Status Loader::read_tiles(const Slice& slice) const {
  const Matrix& matrix = *slice.task->matrix;
  const size_t begin = static_cast<size_t>(slice.first_tile) * matrix.tile_bytes;
  const size_t n = static_cast<size_t>(slice.last_tile - slice.first_tile) * matrix.tile_bytes;
  const TensorInfo& tensor = *slice.task->source->tensor;
  if (mapped_ != nullptr) {
    const Status present = mapped_->populate(static_cast<size_t>(tensor.offset) + begin, n);
    if (present) return present;
    return Error{present.error().code,
                 detail::format("{}: {}", description_.files->path(tensor), present.error().message)};
  }
  return description_.files->read(tensor, begin, std::span(matrix.tiles + begin, n));
}

Status Loader::place(Weights& weights) {
  for (const MatrixTask& task : tasks_) weights.packed_bytes += round_up(task.matrix->bytes(), kTileAlignment);
  const size_t bytes = Arena::bytes_for(weights.packed_bytes);
  if (options_.memory_limit_bytes != 0 && bytes > options_.memory_limit_bytes)
    return Error{ErrorCode::over_limit, detail::format("{}: the weights take {} bytes of memory; the limit is {}",
                                                       description_.info.path, bytes, options_.memory_limit_bytes)};
  if (description_.packed_fingerprint && options_.map_packed) {
    Result<Arena> arena = Arena::map(description_.files->file(*tasks_.front().source->tensor));
    if (!arena) return arena.error();
    weights.arena = std::move(*arena);
    mapped_ = &weights.arena;
    for (const MatrixTask& task : tasks_)
      task.matrix->tiles = weights.arena.data() + static_cast<size_t>(task.source->tensor->offset);
    return {};
  }
  Result<Arena> arena = Arena::create(weights.packed_bytes);
  if (!arena) return arena.error();
  weights.arena = std::move(*arena);
  size_t offset = 0;
  for (const MatrixTask& task : tasks_) {
    task.matrix->tiles = weights.arena.data() + offset;
    offset += round_up(task.matrix->bytes(), kTileAlignment);
  }
  return {};
}

Status Loader::check_packed() const {
  const auto refuse = [this](ErrorCode code, const char* what) {
    return Error{code, detail::format("{}: {}", description_.info.path, what)};
  };
  if (options_.numerics == Numerics::reference)
    return refuse(ErrorCode::unsupported, "a packed file has no weights for reference numerics; open its source");
  for (const MatrixTask& task : tasks_)
    if (task.source->tensor->file != 0)
      return refuse(ErrorCode::bad_format, "a packed model is one file, not a split one");
  return {};
}

Status Loader::run(Weights& weights, ThreadPool& pool) {
  plan(weights);
  const bool packed = description_.packed_fingerprint.has_value();
  if (Status checked = packed ? check_packed() : Status(); !checked) return checked;
  if (Status loaded = load_vectors(weights); !loaded) return loaded;
  if (Status placed = place(weights); !placed) return placed;

  std::vector<Slice> slices;
  for (const MatrixTask& task : tasks_) {
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
  const int n_beside = beside_ ? 1 : 0;
  pool.for_each(static_cast<int>(slices.size()) + n_beside, [&](int piece, int thread) {
    if (piece < n_beside) return beside_();
    if (stop.load(std::memory_order_relaxed)) return;
    const auto i = static_cast<size_t>(piece - n_beside);
    const Slice& slice = slices[i];
    Scratch& mine = scratch[static_cast<size_t>(thread)];
    Status done;
    try {
      if (options_.stop.stop_requested() ||
          (options_.deadline && std::chrono::steady_clock::now() >= *options_.deadline)) {
        done = Error{ErrorCode::cancelled, "loading was cancelled"};
      } else if (packed) {
        done = read_tiles(slice);
      } else {
        done = pack(slice, mine.file_bytes, mine.floats, mine.row_bytes);
        checksums[i] = cache::checksum(mine.file_bytes);
      }
    } catch (const std::bad_alloc&) {
      done = Error{ErrorCode::out_of_memory, "out of memory"};  // short enough to need none
    }
    if (!done) {
      const std::lock_guard lock(mutex);
      if (outcome) outcome = std::move(done);
      stop.store(true, std::memory_order_relaxed);
      return;
    }
    const size_t n = static_cast<size_t>(slice.last_tile - slice.first_tile) * slice.task->matrix->tile_bytes;
    const size_t in_tiles = bytes_done.fetch_add(n) + n;
    if (thread == 0 && options_.progress)
      options_.progress(std::min(in_tiles, weights.packed_bytes), weights.packed_bytes);
  });
  if (!outcome) return outcome;
  if (options_.progress) options_.progress(weights.packed_bytes, weights.packed_bytes);
  if (!weights.head) weights.head = weights.token_embedding;
  weights.fingerprint = packed ? *description_.packed_fingerprint
                               : cache::checksum(std::as_bytes(std::span(checksums)), vectors_checksum_);
  return {};
}

}  // namespace

Result<Weights> load_weights(const ModelDescription& description, const ModelOptions& options, ThreadPool& pool,
                             const std::function<void()>& beside) {
  Weights weights;
  Loader loader(description, options, beside);
  if (Status loaded = loader.run(weights, pool); !loaded) return loaded.error();
  return weights;
}

}  // namespace decant::model
