// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/attention_tables.h"

#include "cache/kernels/kv_tiles.h"

namespace decant::kernels {
namespace {

size_t elements(int dim) { return static_cast<size_t>(dim) * kTileTokens; }

// q8's integers and the scales of either type take the same room in a K tile and in a V tile.
size_t scales_bytes(int dim) { return static_cast<size_t>(n_blocks(dim)) * kScalesBytes; }

size_t plain_bytes(KvType type, int dim) {
  switch (type) {
    case KvType::f32:
      return elements(dim) * 4;
    case KvType::f16:
    case KvType::bf16:
      return elements(dim) * 2;
    default:
      return scales_bytes(dim) + elements(dim);
  }
}

bool is_4_bits(KvType type) { return type == KvType::q4 || type == KvType::q4_plain; }

}  // namespace

size_t kv_k_tile_bytes(KvType type, int k_dim) noexcept {
  if (!is_4_bits(type)) return plain_bytes(type, k_dim);
  const int n_pairs = k_dim / 2 + k_dim % 2;
  return scales_bytes(k_dim) + elements(n_pairs);
}

size_t kv_v_tile_bytes(KvType type, int v_dim) noexcept {
  if (!is_4_bits(type)) return plain_bytes(type, v_dim);
  return scales_bytes(v_dim) + static_cast<size_t>(row4_bytes(v_dim)) * kTileTokens;
}

const AttentionKernels& attention_kernels(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
    case Isa::avxvnni:
      return kAttentionAvx2;
    case Isa::avx512:
    case Isa::avx512vnni:
      return kAttentionAvx512;  // no product of attention is an integer one
    case Isa::reference:
      break;
  }
  const bool has_fma = available_isas().size() > 1;
  return has_fma ? reference_fma::kAttention : reference::kAttention;
}

}  // namespace decant::kernels
