// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/token_bytes.h"

#include <algorithm>

#include "engine/engine_impl.h"

namespace decant::profile {
namespace {

size_t all_but_one_row(const model::MatrixSource& matrix) {
  if (!matrix) return 0;
  const auto bytes = static_cast<size_t>(matrix.tensor->size_bytes);
  return bytes - bytes / static_cast<size_t>(matrix.rows);
}

}  // namespace

size_t weight_bytes_per_token(const model::ModelDescription& model) {
  size_t bytes = model.info.file_bytes - all_but_one_row(model.weights.position_embedding);
  if (!model.info.tied_head) bytes -= all_but_one_row(model.weights.token_embedding);
  return bytes;
}

size_t kv_bytes_at(Engine& engine, SequenceId sequence, int depth) {
  const Engine::Impl& impl = engine.impl();
  const Sequence* const found = impl.scheduler->find(sequence);
  if (found == nullptr) return 0;
  const std::vector<model::LayerConfig>& layers = impl.model->parts().config.layers;
  size_t bytes = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const cache::KvView view = impl.cache->view(found->cache, static_cast<int>(layer), 0);
    const size_t slot_bytes = (view.k_tile_bytes + view.v_tile_bytes) / cache::kTileTokens;
    const int window = layers[layer].window;
    const int n_read = window > 0 ? std::min(depth, window - 1) : depth;
    bytes += static_cast<size_t>(n_read) * static_cast<size_t>(layers[layer].n_kv_heads) * slot_bytes;
  }
  return bytes;
}

}  // namespace decant::profile
