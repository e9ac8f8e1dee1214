// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include "engine/quant/format.h"

namespace decant::quant {
namespace {

// By number, as GGUF's specification lists them; those that it withdrew too.
constexpr const char* kNames[] = {
    "F32",    "F16",      "Q4_0",     "Q4_1",     "Q4_2",  "Q4_3",  "Q5_0",       "Q5_1",       "Q8_0",       "Q8_1",
    "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",    "IQ1_S",
    "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",        "I64",        "F64",        "IQ1_M",
    "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
};

// In the order of DType: tiles of 16 rows.
constexpr const char* kTileNames[kDTypeCount] = {
    "F32_T16",  "F16_T16",  "BF16_T16", "Q8_0_T16", "Q4_0_T16", "Q4_1_T16",   "Q5_0_T16",   "Q5_1_T16",
    "Q2_K_T16", "Q3_K_T16", "Q4_K_T16", "Q5_K_T16", "Q6_K_T16", "IQ4_NL_T16", "IQ4_XS_T16",
};

}  // namespace

const char* tile_type_name(DType type) noexcept { return kTileNames[static_cast<size_t>(type)]; }

const char* ggml_type_name(uint32_t ggml_type) noexcept {
  if (const Format* const tiles = format_of_tile_type(ggml_type)) return tile_type_name(tiles->type);
  return ggml_type < std::size(kNames) ? kNames[ggml_type] : "unknown type";
}

}  // namespace decant::quant
