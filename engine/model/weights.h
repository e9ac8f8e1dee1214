// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "decant/detail/aligned_buffer.h"
#include "decant/detail/log.h"
#include "decant/model.h"

#include "engine/model/arena.h"
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
  std::byte* tiles = nullptr;  ///< aligned to cache lines; of a file that is mapped: can't be written

  explicit operator bool() const { return format != nullptr; }
  size_t bytes() const { return tile_bytes * static_cast<size_t>(n_tiles); }
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

/// Reads and packs all weights with the pool's threads, slice by slice; those of a packed file are mapped, or read as
/// they are. Errors as Model::open.
/// beside: other work that one of the threads does first; must not throw. May be empty.
Result<Weights> load_weights(const ModelDescription& description, const ModelOptions& options, ThreadPool& pool,
                             const std::function<void()>& beside = {});

}  // namespace decant::model
