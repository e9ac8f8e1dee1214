// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "decant/export.h"

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
inline constexpr int kDTypeCount = 15;  ///< how many there are

/// Upper-case name as GGUF tools print it, e.g. "Q4_K", "F16".
DECANT_API const char* to_string(DType type) noexcept;

/// Reads a name in either case, e.g. "q8_0". Empty for a name that is none.
DECANT_API std::optional<DType> parse_dtype(std::string_view name) noexcept;

/// Element types of the KV cache. K and V may have different ones.
///
/// type      bits an element         a stored value
/// f32       32
/// f16       16                      rounded to nearest even; at most 65504 in magnitude
/// bf16      16                      rounded to nearest even
/// q8        8.5                     scale · integer from −127 to 127; 32 channels of a head share a scale, as in Q8_0
/// q4        4.5                     as q4_plain, after a Hadamard rotation that spreads outliers over channels
/// q4_plain  4.5                     scale · integer from −8 to 7; 32 channels of a head share a scale, as in Q4_0
///
/// Bits hold for heads whose dimension is a multiple of 32; any other works too and takes a little more. f16 is the
/// default. q8 halves it and costs next to nothing in quality; q4 halves that again, for long contexts that would not
/// fit. q4_plain is there to be compared with.
enum class KvType : int32_t { f32, f16, bf16, q8, q4, q4_plain };
inline constexpr int kKvTypeCount = 6;  ///< how many there are

/// "f32", "f16", "bf16", "q8", "q4" or "q4_plain".
DECANT_API const char* to_string(KvType type) noexcept;

/// Reads a name in either case; "q8_0" is q8 and "q4_0" is q4_plain. Empty for a name that is none.
DECANT_API std::optional<KvType> parse_kv_type(std::string_view name) noexcept;

}  // namespace decant
