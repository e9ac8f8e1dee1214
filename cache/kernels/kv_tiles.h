// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where a slot's elements lie in the tiles of the quantized types; ARCHITECTURE.md, "A block of the cache", draws it.
// Read by files compiled with their own ISA flags: internal linkage throughout.

#include <cstddef>

#include "cache/kernels/attention_kernels.h"

namespace decant::kernels {
namespace {

constexpr int kBlockChannels = 32;                                        ///< channels that share a scale
constexpr ptrdiff_t kScaleBytes = 2;                                      ///< binary16
constexpr ptrdiff_t kScalesBytes = ptrdiff_t{kTileTokens} * kScaleBytes;  ///< of 16 slots, side by side
constexpr int n_blocks(int dim) { return dim / kBlockChannels + (dim % kBlockChannels != 0); }
constexpr int block_channels(int dim, int block) {
  const int rest = dim - block * kBlockChannels;
  return rest < kBlockChannels ? rest : kBlockChannels;
}

// Keys: block after block, each its 16 scales and then its integers: channel by channel, 16 slots side by side. Four
// bits: a byte holds a slot's channels 2i (low) and 2i + 1.
constexpr ptrdiff_t kKeys8Bytes = kScalesBytes + ptrdiff_t{kBlockChannels} * kTileTokens;
constexpr ptrdiff_t kKeys4Bytes = kScalesBytes + ptrdiff_t{kBlockChannels} / 2 * kTileTokens;

// Values: the scales of all blocks, 16 slots side by side; then slot by slot its integers. Four bits: 16 bytes hold a
// block's channels i (low) and 16 + i; a last block of up to 16 channels has up to 8 bytes of channels i and 8 + i.
constexpr ptrdiff_t values_at(int v_dim) { return n_blocks(v_dim) * kScalesBytes; }
constexpr int half_block4(int n_channels) { return n_channels > 16 ? 16 : 8; }
constexpr int block4_bytes(int n_channels) {
  return n_channels < half_block4(n_channels) ? n_channels : half_block4(n_channels);
}
constexpr ptrdiff_t row4_bytes(int v_dim) {
  return ptrdiff_t{v_dim / kBlockChannels} * 16 +
         (v_dim % kBlockChannels == 0 ? 0 : block4_bytes(v_dim % kBlockChannels));
}

}  // namespace
}  // namespace decant::kernels
