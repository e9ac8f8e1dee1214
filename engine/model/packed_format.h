// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace decant::model {

// A packed model is a GGUF file whose matrices lie as they do in memory: tensors [rows, cols] of a type from
// quant::kFirstTileType on hold the tiles of quant::Format, the last one filled up to 16 rows. Vectors are F32. Rows
// are in our own order and fused tensors are taken apart, under the names of packed_names(). The rest of the metadata
// is that of the GGUF file it was made from; one made from a Hugging Face directory has that directory's JSON files as
// strings instead (hf_texts.h).

/// Which tiles these are. Rises whenever a tile of any format changes: files of another version are refused.
inline constexpr int64_t kPackedVersion = 1;
inline constexpr const char* kPackedVersionKey = "decant.packed.version";
/// Weights::fingerprint of the source, so that sessions fit both; its 64 bits as a signed integer.
inline constexpr const char* kPackedFingerprintKey = "decant.packed.fingerprint";

/// What the writer aligns tensors to: pages. What the kernels need, and a file must keep to: a cache line.
inline constexpr size_t kPackedAlignment = 4096;
inline constexpr size_t kTileAlignment = 64;

}  // namespace decant::model
