// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/token_bytes.h"

#include "engine/engine_impl.h"

namespace decant::profile {

size_t weight_bytes_per_token(const Model& model) { return model.parts().weight_bytes.per_token(); }

size_t kv_bytes_at(Engine& engine, SequenceId sequence, int depth) {
  const Engine::Impl& impl = engine.impl();
  const Sequence* const found = impl.scheduler->find(sequence);
  if (found == nullptr) return 0;
  const std::vector<model::LayerConfig>& layers = impl.model->parts().config.layers;
  size_t bytes = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    bytes += static_cast<size_t>(tokens_before(layers[layer], depth, 0)) *
             kv_bytes_of_token(*impl.cache, found->cache, layers[layer], static_cast<int>(layer));
  return bytes;
}

}  // namespace decant::profile
