// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace decant {

/// Element types of weights, in the formats of GGUF. A quantized type is a run of blocks along a row.
enum class DType : int32_t {
  f32,
  f16,
  bf16,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
};
inline constexpr int kDTypeCount = 15;

/// Upper-case name as GGUF tools print it, e.g. "Q4_K", "F16".
const char* to_string(DType type) noexcept;

/// Reads a name in either case, e.g. "q8_0". Empty for a name that is none.
std::optional<DType> parse_dtype(std::string_view name) noexcept;

/// Element types of the KV cache. K and V may have different ones.
enum class KvType : int32_t { f32, f16 };
inline constexpr int kKvTypeCount = 2;

const char* to_string(KvType type) noexcept;
std::optional<KvType> parse_kv_type(std::string_view name) noexcept;

}  // namespace decant
