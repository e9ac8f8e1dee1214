// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decant/detail/aligned_buffer.h"
#include "decant/detail/log.h"
#include "decant/model.h"

#include "engine/model/model_config.h"
#include "engine/quant/format.h"

namespace decant {
class ThreadPool;
}

namespace decant::model {

/// A matrix [rows, cols] in memory: tiles of 16 rows. See quant::Format.
struct Matrix {
  const quant::Format* format = nullptr;  ///< null: the model has none
  int rows = 0;
  int cols = 0;
  int n_tiles = 0;
  size_t tile_bytes = 0;
  std::byte* tiles = nullptr;

  explicit operator bool() const { return format != nullptr; }
  /// Row r as floats, [cols].
  void row(int r, float* out) const {
    format->decode_tile_row(tiles + static_cast<size_t>(r / quant::kTileRows) * tile_bytes, r % quant::kTileRows, cols,
                            out);
  }
};

/// A vector of floats; empty where the model has none.
using Vector = detail::AlignedBuffer<float>;

struct LayerWeights {
  Vector attn_norm, attn_norm_bias;
  Matrix q, k, v, o;
  Vector q_bias, k_bias, v_bias, o_bias;
  Vector q_norm, k_norm;
  Vector ffn_norm, ffn_norm_bias;
  Matrix gate, up, down;
  Vector gate_bias, up_bias, down_bias;
};

/// Zeroed pages for the tiles of a whole model, huge ones where the system gives them.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();
  static Result<Arena> create(size_t size_bytes);
  std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

struct Weights {
  Arena arena;
  size_t packed_bytes = 0;
  uint64_t fingerprint =
      0;  ///< of all bytes as the file has them, in the order of the model; no matter how many threads
  Matrix token_embedding;
  Matrix position_embedding;
  std::vector<LayerWeights> layers;
  Vector out_norm, out_norm_bias;
  Matrix head;  ///< shares the tiles of token_embedding when tied
};

/// Reads and packs all weights with the pool's threads, slice by slice. Errors as Model::open.
Result<Weights> load_weights(const ModelDescription& description, const ModelOptions& options, ThreadPool& pool);

}  // namespace decant::model
