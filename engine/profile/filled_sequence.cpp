// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/filled_sequence.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/engine_impl.h"
#include "engine/quant/random_rows.h"

namespace decant::profile {
namespace {

constexpr int kRows = 61;  // different rows; coprime to every tile and block
constexpr int kSlotsPerPiece = 64;

/// [kRows, width] uniform numbers of deviation 1, about what normalised keys and values are.
std::vector<float> random_table(int width, uint64_t key) {
  std::vector<float> table(static_cast<size_t>(kRows) * static_cast<size_t>(width));
  const quant::RandomRows rows(DType::f32, width, {}, key);
  for (int r = 0; r < kRows; ++r)
    rows.fill(r, std::as_writable_bytes(
                     std::span(table).subspan(static_cast<size_t>(r * width), static_cast<size_t>(width))));
  return table;
}

/// Slots [0, depth) of every layer. False where the cache's type can't hold what is written.
bool fill(Engine::Impl& impl, cache::SequenceIndex sequence, int depth) {
  const model::ModelConfig& config = impl.model->parts().config;
  int widest = 0;
  for (const model::LayerConfig& layer : config.layers) widest = std::max(widest, layer.n_kv_heads * config.head_dim);
  const std::vector<float> keys = random_table(widest, 1), values = random_table(widest, 2);
  const auto n_layers = static_cast<int>(config.layers.size());
  const int n_runs = (depth + kSlotsPerPiece - 1) / kSlotsPerPiece;
  std::atomic<bool> fits{true};
  impl.pool->for_each(n_runs * n_layers, [&](int piece, int) {
    const int layer = piece / n_runs, first = piece % n_runs * kSlotsPerPiece;
    for (int pos = first; pos < std::min(first + kSlotsPerPiece, depth); ++pos) {
      const auto at = static_cast<size_t>((pos + 7 * layer) % kRows) * static_cast<size_t>(widest);
      if (!impl.cache->write(sequence, layer, pos, keys.data() + at, values.data() + at)) fits = false;
    }
  });
  return fits;
}

}  // namespace

Result<SequenceId> add_filled_sequence(Engine& engine, int depth) {
  Engine::Impl& impl = engine.impl();
  Request request;
  const int vocab_size = impl.model->info().vocab_size;
  for (int i = 0; i <= depth; ++i) request.prompt.push_back(static_cast<int32_t>(int64_t{i + 1} * 7919 % vocab_size));
  request.sampling.temperature = 0.0F;
  request.max_new_tokens = 0;
  request.ignore_end = true;
  request.keep = true;
  request.share_prefix = false;
  request.detokenize = false;
  Result<SequenceId> id = engine.submit(std::move(request));
  if (!id) return id;
  Sequence& sequence = *impl.scheduler->find(*id);
  const auto refuse = [&](Error error) {
    static_cast<void>(engine.cancel(*id));
    return error;
  };
  {
    const cache::KvGrowth growth{sequence.cache, depth};
    Result<cache::KvReservation> slots = impl.cache->reserve({&growth, 1});
    if (!slots) return refuse(slots.error());
    if (!fill(impl, sequence.cache, depth))
      return refuse(Error{ErrorCode::internal, "the cache took no random keys and values"});
    slots->commit();
  }
  sequence.n_computed = depth;
  sequence.paused = true;
  return id;
}

}  // namespace decant::profile
